"""`train --dry-run` without a cache or model files: what each usual GPU would pick, by the family's published size."""

import pytest

from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import SUBJECTS
from blissmask.errors import ModelError, UsageError
from blissmask.families.registry import FAMILIES, load_family
from blissmask.tasks.run.plan import Explanation
from blissmask.tasks.train.plan import plan
from blissmask.tasks.train.rules import run_names
from blissmask.training.cost import CARDS
from blissmask.training.experts import wanted_experts
from tests.builders.families import TWO_EXPERTS, family_of


def forecast(**tables):
    model = {"arch": TWO_EXPERTS, **tables.pop("model", {})}
    data = {"run": {"dry_run": True}, "model": model, **tables}
    made = plan(Config.model_validate(data, context={SUBJECTS: [each["name"] for each in tables.get("subjects", ())]}))
    assert isinstance(made, Explanation)
    about, by_card = made.tables
    return dict(about.rows), {row[0]: row[1:] for row in by_card.rows}, made


def test_every_usual_gpu_has_a_row_and_larger_ones_give_up_less():
    about, cards, made = forecast()
    assert [name.partition(" ")[0] for name in cards] == [str(card.gib) for card in CARDS]
    picked = [row[0] for row in cards.values()]
    assert picked[0].startswith("checkpointing, int8, swap ")
    assert picked[-1] == "checkpointing"
    seconds = [float(row[3].removesuffix(" s")) for row in cards.values()]
    assert seconds == sorted(seconds, reverse=True)
    assert about["trained at"] == "1024 x 1024, 4096 tokens, 1 item at a time"
    assert not made.items
    assert "no cache of this family yet" in made.warnings[0].what


def test_a_cache_of_another_family_does_not_keep_a_family_from_being_forecast(tmp_path):
    suffix = load_family(TWO_EXPERTS).cache_suffix
    name = next(name for name in FAMILIES.names() if load_family(name).cache_suffix != suffix)
    (tmp_path / f"a_0064x0064_{suffix}.safetensors").touch()
    about, _, _ = forecast(model={"arch": name}, datasets=[{"image_directory": str(tmp_path), "resolution": 64}])
    assert about["family"].startswith(f"{name},")


def test_the_prior_and_accumulated_steps_take_longer():
    plain = forecast()[2].details["operations_per_step"]
    prior = forecast(mask_loss={"mask_preset": "person-prior"})[2].details["operations_per_step"]
    assert prior / plain == pytest.approx(1 + 1 / 6, rel=0.05)
    assert forecast(train={"gradient_accumulation_steps": 2})[2].details["operations_per_step"] == 2 * plain


def test_the_data_sets_of_the_configuration_are_measured(tmp_path):
    clips = {"video_directory": str(tmp_path), "target_frames": [1, 33], "resolution": [832, 480], "batch_size": 2}
    about, cards, _ = forecast(datasets=[clips])
    assert about["trained at"] == "832 x 480, 33 frames, 28080 tokens, 2 items at a time"
    assert all(len(row) == 5 for row in cards.values())


def test_captions_may_name_subjects_where_no_data_set_is_named():
    subjects = [{"name": name, "trigger": f"{name}x", "references": [f"{name}.png"]} for name in ("anna", "ben")]
    about, *_ = forecast(general={"caption": "a photo of {anna}"}, subjects=subjects)
    assert about["trained at"] == "1024 x 1024, 4096 tokens, 1 item at a time"


def test_both_experts_rest_in_turn_on_small_cards():
    about, cards, _ = forecast(train={"expert": "both"})
    assert about["denoiser, as published"] == "14.3 billion weights and 14.3 billion weights"
    assert any("experts in turn" in row[0] for row in cards.values())


def test_numbers_that_make_no_sense_are_told_before_there_is_a_cache():
    *_, made = forecast(optimizer={"learning_rate": 2e4})
    assert any("`learning_rate = 20000` makes no sense" in problem.what for problem in made.warnings)


def test_what_no_cache_can_mend_is_refused_with_all_of_its_faults(tmp_path):
    start = tmp_path / "nope.safetensors"
    lora = {"network_type": "lokr", "use_dora": True, "network_weights": start}
    with pytest.raises(UsageError) as caught:
        forecast(lora=lora, train={"guidance_scale": 3.0}, saving={"output_dir": tmp_path})
    assert [problem.what for problem in caught.value.problems] == [
        "lokr has no `use_dora`",
        f"`guidance_scale` is an input of models that were distilled for guidance, and `{TWO_EXPERTS}` is none",
        "there is no such LoRA file",
    ]


def test_a_training_for_another_machine_is_forecast():
    forecast(model={"device": "cuda:9"}, memory={"compile": True, "compile_backend": "gcc"})


def test_a_lora_to_start_from_is_not_asked_for_where_a_training_state_is_gone_on_from(tmp_path):
    tables = {"lora": {"network_weights": tmp_path / "gone.safetensors"}, "saving": {"output_dir": tmp_path}}
    with pytest.raises(ModelError, match="there is no such LoRA file"):
        forecast(**tables)
    config = Config.model_validate({"model": {"arch": TWO_EXPERTS}, **tables})
    family = family_of(TWO_EXPERTS)
    names = run_names(config, family, wanted_experts(family.experts, config.train.expert))
    (tmp_path / f"{names.run_name}-step00000001-state").mkdir()
    forecast(**tables)
