"""What would end a training once its model is loaded is refused by the plan: no model is there to be loaded."""

import sys

import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from safetensors.torch import save_file

from blissmask.errors import CacheError, MachineError, MissingPackageError, ModelError, UsageError
from blissmask.tasks.train.checks import refuse_before_cache, refuse_missing_models
from blissmask.tasks.train.odd_options import number_warnings
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.experts import expert_in_name, expert_of
from tests.builders.families import PLAIN, TWO_EXPERTS
from tests.builders.training import problems_of, run, train_config, write_entry

BOTH = {"arch": TWO_EXPERTS, "expert": "both", "high_noise_share": 0.25, "max_train_steps": 40}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer_type": "torch.no_such.Optimiser"}, "the optimiser `torch.no_such.Optimiser` cannot be imported"),
        ({"optimizer_args": ["betas=(1.5,0.9)"]}, "does not take these arguments: Invalid beta parameter"),
        ({"optimizer_args": ["momentum=0.9"]}, "does not take `momentum` of `optimizer_args`"),
        ({"lr_warmup_steps": "100", "max_train_steps": 50}, "`lr_warmup_steps` must be in range [0, 50], got 100"),
        ({**BOTH, "lr_warmup_steps": "20"}, "`lr_warmup_steps` must be in range [0, 10], got 20"),
        (
            {"lr_scheduler": "cosine", "lr_scheduler_args": ["no_such=1"]},
            "the learning rate schedule `cosine` does not take `no_such` of `lr_scheduler_args`",
        ),
        ({"include_patterns": ["("]}, "`(` is not a regular expression"),
        ({"exclude_patterns": ["*"]}, "`*` is not a regular expression"),
        ({"compile": True, "compile_backend": "gcc"}, "there is no compiler `gcc`"),
        ({"blocks_to_swap": 1}, "needs gradient checkpointing"),
        ({"network_type": "lokr", "use_dora": True}, "lokr has no `use_dora`"),
    ],
)
def test_options_are_refused_before_a_model_is_looked_for(cache, tmp_path, options, message):
    with pytest.raises(UsageError) as caught:
        plan_training(train_config(cache, tmp_path / "out", model="no-such-model", **options))
    assert message in problems_of(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer_type": "torch.no_such.Optimiser"}, "the optimiser `torch.no_such.Optimiser` cannot be imported"),
        ({"optimizer_args": ["beta=0.9,0.99"]}, "`torch.optim.AdamW` does not take `beta` of `optimizer_args`"),
        ({"lr_warmup_steps": "100", "max_train_steps": 50}, "`lr_warmup_steps` must be in range [0, 50], got 100"),
        ({"lr_warmup_steps": "5 %%", "max_train_epochs": 9}, "`lr_warmup_steps` must be a number of steps"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_an_optimiser_and_its_schedule_are_refused_before_there_is_a_cache(tmp_path, dry_run, options, message):
    config = train_config(tmp_path / "no-cache", tmp_path / "out", **options)
    config = config.model_copy(update={"run": config.run.model_copy(update={"dry_run": dry_run})})
    with pytest.raises(UsageError) as caught:
        refuse_before_cache(config)
    assert message in problems_of(caught.value)


@pytest.mark.parametrize(
    ("name", "package"), [("prodigy", "prodigyopt"), ("pytorch_optimizer.CAME", "pytorch_optimizer")]
)
def test_a_forecast_needs_no_package_of_the_machine_that_will_train(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    config = train_config(tmp_path / "no-cache", tmp_path / "out", optimizer_type=name)
    with pytest.raises(MissingPackageError, match=package):
        refuse_before_cache(config)
    refuse_before_cache(config.model_copy(update={"run": config.run.model_copy(update={"dry_run": True})}))


def test_a_warm_up_may_be_as_long_as_it_likes_where_nobody_knows_the_steps_yet(tmp_path):
    config = train_config(tmp_path / "no-cache", tmp_path / "out", lr_warmup_steps="5000", max_train_epochs=9)
    refuse_before_cache(config)


OF_ANOTHER_FAMILY = {
    "lora_unet_down_blocks_0_to_q.lora_down.weight": torch.ones(2, 8),
    "lora_unet_down_blocks_0_to_q.lora_up.weight": torch.ones(8, 2),
}


def test_warm_up_of_experts_that_share_a_lora_may_be_as_long_as_all_steps(cache, tmp_path):
    config = train_config(cache, tmp_path / "out", **BOTH, shared_lora=True, lr_warmup_steps="40")
    assert plan_training(config).steps.total == 40


@pytest.mark.skipif(torch.cuda.device_count() > 9, reason="there is such a device")
def test_a_device_that_is_not_there_is_refused(cache, tmp_path):
    with pytest.raises(MachineError, match="cuda:9"):
        plan_training(train_config(cache, tmp_path / "out", model="no-such-model", device="cuda:9"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such LoRA file"),
        (b"\x80\x04no", "damaged or not safetensors"),
        (safetensors_bytes(OF_ANOTHER_FAMILY), "2 of 2 tensors in this file are of no layer of the family"),
        (safetensors_bytes({"x" * 2000 + ".alpha": torch.ones(())}), "has 2,006 characters: it is no LoRA"),
    ],
    ids=["missing", "damaged", "another family", "a key without end"],
)
def test_a_lora_to_start_from_is_looked_at_before_a_model(cache, tmp_path, content, message):
    file = tmp_path / "start.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        plan_training(train_config(cache, tmp_path / "out", model="no-such-model", network_weights=file))


def test_a_run_goes_on_when_the_lora_it_started_from_is_gone(cache, tmp_path):
    run(train_config(cache, tmp_path / "first"))
    start = tmp_path / "first" / "kyla.safetensors"
    options = {"network_weights": start, "max_train_steps": 4}
    with pytest.raises(Exception, match="stopped after step 2"):
        run(train_config(cache, tmp_path / "second", **options), stop_after=2)
    start.unlink()
    assert plan_training(train_config(cache, tmp_path / "second", **options)).start == 2


@pytest.mark.parametrize(("made_for", "wanted"), [("t2v", "i2v"), ("i2v", "t2v")])
def test_a_cache_of_another_task_is_refused_by_name(tmp_path, made_for, wanted):
    path = write_entry(tmp_path / "cache", "kyla", **{"blissmask.arch": PLAIN, "blissmask.task": made_for})
    with pytest.raises(CacheError) as caught:
        plan_training(train_config(tmp_path / "cache", tmp_path / "out", task=wanted))
    assert f"cached for the task `{made_for}`, and `{wanted}` is to be trained\n{path}" in problems_of(caught.value)
    assert f"blissmask cache --arch {PLAIN} --task {wanted}" in problems_of(caught.value)


def test_a_cache_of_another_tool_serves_any_task(cache, tmp_path):
    assert plan_training(train_config(cache, tmp_path / "out", task="i2v")).family.task_name == "i2v"


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        (
            {"learning_rate": 2e4},
            "`learning_rate = 20000` makes no sense: 1e-07 to 0.1 is what can work",
            "did you mean 0.0002?",
        ),
        ({"learning_rate": 5.0}, "`learning_rate = 5` makes no sense", ""),
        ({"mask_gamma": 70.0}, "`mask_gamma = 70` makes no sense", ""),
        ({"discrete_flow_shift": 3000.0}, "`discrete_flow_shift = 3000` makes no sense", ""),
        ({"network_dim": 4, "network_alpha": 1000.0}, "`network_alpha = 1000` is 250 times the rank", "the rank, 4"),
        ({"optimizer_type": "prodigy", "learning_rate": 2e4}, "prodigy finds its learning rate alone", "set it to 1"),
    ],
)
def test_numbers_that_make_no_sense_are_told(options, what, fix):
    config = train_config("cache", "out", **options)
    (problem,) = number_warnings(config)
    assert what in problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network_dim": 4, "network_alpha": 64.0},
        {"learning_rate": 1e-2},
        {"optimizer_type": "prodigy", "learning_rate": 1.0},
    ],
)
def test_usual_numbers_are_not_remarked_on(options):
    assert number_warnings(train_config("cache", "out", **options)) == []


@pytest.mark.parametrize(
    ("name", "expert"),
    [
        ("kyla-low", "low"),
        ("kyla-high-step00000500", "high"),
        ("Wan2.2_HighNoise_v1", "high"),
        ("kyla_low_noise_final", "low"),
        ("kylaHigh", "high"),
        ("high_quality_portraits", None),
        ("follow", None),
    ],
)
def test_the_name_of_a_lora_says_which_expert_it_is_of(name, expert):
    assert expert_in_name(name) == expert


@pytest.mark.parametrize(
    ("metadata", "expert"),
    [
        ({"ss_sd_model_name": "wan2.2_t2v_high_noise_14B_fp16.safetensors"}, "high"),
        ({"ss_output_name": "wan2.2-kyla-low"}, "low"),
        ({"modelspec.title": "kyla v1.5-high"}, "high"),
        ({"ss_output_name": "kyla-low.CKPT", "ss_sd_model_name": "kyla-high.pth"}, "low"),
        ({"ss_output_name": "kyla-low.backup"}, None),
        ({}, None),
    ],
)
def test_a_renamed_lora_says_by_its_metadata_which_expert_it_is_of(tmp_path, metadata, expert):
    path = tmp_path / "mine.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata)
    assert expert_of(path) == expert


@pytest.mark.parametrize("renamed", [False, True])
def test_the_lora_of_the_other_expert_is_told(cache, tmp_path, renamed):
    options = {"arch": TWO_EXPERTS, "max_train_steps": 1}
    run(train_config(cache, tmp_path / "first", expert="low", **options))
    path = tmp_path / "first" / "kyla-low.safetensors"
    if renamed:
        path = path.rename(tmp_path / "mine.safetensors")

    def told(expert, **given):
        config = train_config(cache, tmp_path / "out", expert=expert, **given, **options)
        return [problem.where for problem in plan_training(config).warnings if "-noise expert, and" in problem.what]

    for given in ({"network_weights": path}, {"base_weights": [path]}):
        assert told("low", **given) == []
        assert told("high", **given) == [(str(path),)]
    assert told("both", network_weights=path) == [(str(path),)]


def test_all_model_files_that_are_missing_are_named_before_anything_is_prepared(tmp_path):
    here = tmp_path / "vae.safetensors"
    here.touch()
    files = {
        "model": None,
        "vae": here,
        "text_encoder": tmp_path / "t5.safetensors",
        "dit": tmp_path / "dit.safetensors",
    }
    (tmp_path / "T5.safetensors").touch()
    (tmp_path / "dit2.safetensors").touch()
    config = train_config(tmp_path, tmp_path / "out")
    config = config.model_copy(update={"model": config.model.model_copy(update=files)})
    with pytest.raises(ModelError, match="2 model files are not there") as caught:
        refuse_missing_models(config)
    assert caught.value.problems[0].where == (
        f"text_encoder: {tmp_path / 't5.safetensors'}, did you mean `{tmp_path / 'T5.safetensors'}`?",
        f"dit: {tmp_path / 'dit.safetensors'}",
    )
    # Miniatures need none, and a family that nobody named is the cache's to ask for.
    refuse_missing_models(train_config(tmp_path, tmp_path / "out"))
    unnamed = config.model.model_copy(update={"arch": None})
    refuse_missing_models(config.model_copy(update={"model": unnamed}))
