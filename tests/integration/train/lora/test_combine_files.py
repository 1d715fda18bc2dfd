"""`train --convert-lora` with `--average`, `--merge` and `--rank`: files of every spelling in and out."""

import json

import pytest
import torch
from safetensors.torch import load_file

from blissmask.cachefile.read_file import read_metadata
from blissmask.config.model import Config
from blissmask.errors import UsageError
from blissmask.tasks.run.plan import Action
from blissmask.tasks.train.plan import plan as plan_training_or_forecast
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.lora.names import layer_names
from tests.builders.families import NAMES, PLAIN, family_of, tiny_denoiser
from tests.builders.lora_conversion import convert
from tests.builders.lora_file import save_lora
from tests.builders.training import seeded

FORMATS = ("native", "kohya", "diffusers")
APART = [name for name in NAMES if layer_names(family_of(name), block_count=1).apart]
"""Families of which kohya files keep parts of fused layers apart."""


def lora_of(name, *, seed=0, rank=2, **shape):
    lora = inject_lora(tiny_denoiser(name), LoraShape(rank=rank, alpha=1.0, **shape), seed=seed)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=seed + number)
    return lora


def saved(folder, name, lora, file_format, family=PLAIN):
    path = folder / f"{name}.safetensors"
    facts = {"ss_base_model_version": family_of(family).metadata_name, "ss_network_dim": "2", "ss_network_alpha": "1.0"}
    save_lora(path, lora, facts, file_format=file_format, native_alpha=family_of(family).native_alpha)
    return path


def updates(lora):
    return {name: lora.shape.scaling * b @ a for name, (a, b) in lora.matrices().items()}


def updates_in(path, family, file_format, tmp_path):
    """Return the update of each part of a layer in a file, read by its diffusers spelling."""
    if file_format != "diffusers":
        convert(path, "diffusers", tmp_path / "as-diffusers.safetensors", arch=family, force=True)
        path = tmp_path / "as-diffusers.safetensors"
    tensors = load_file(path)
    return {
        key.removeprefix("transformer.").removesuffix(".lora_A.weight"): tensors[key.replace("lora_A", "lora_B")] @ a
        for key, a in tensors.items()
        if key.endswith(".lora_A.weight")
    }


@pytest.mark.parametrize("family", NAMES)
def test_the_sum_of_two_files_of_any_spelling_is_the_sum_of_their_updates(tmp_path, family):
    first, second = lora_of(family), lora_of(family, seed=50, rank=1)
    one, other = saved(tmp_path, "one", first, "kohya", family), saved(tmp_path, "other", second, "diffusers", family)
    out = tmp_path / "out.safetensors"
    convert(one, "native", out, arch=family, combine={"merge": [other], "strength": [1.0, 0.5]})
    made = updates_in(out, family, "native", tmp_path)
    modules, others = first.modules(), updates(second)
    for original, update in updates(first).items():
        assert torch.allclose(made[modules[original]], update + 0.5 * others[original], atol=1e-4)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_the_average_of_a_file_with_itself_is_the_conversion_of_it(tmp_path, source, target):
    one, out = saved(tmp_path, "one", lora_of(PLAIN), source), tmp_path / "out.safetensors"
    convert(one, target, out, combine={"average": [one]})
    if source == target:
        expected = one
    else:
        expected = tmp_path / "expected.safetensors"
        convert(one, target, expected)
    made, wanted = load_file(out), load_file(expected)
    assert made.keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in made.items())


def test_norms_of_dora_are_averaged_and_nothing_else_is_done_with_them(tmp_path):
    one = saved(tmp_path, "one", lora_of(PLAIN, dora=True), "native")
    other = saved(tmp_path, "other", lora_of(PLAIN, dora=True, seed=9), "native")
    out = tmp_path / "out.safetensors"
    convert(one, "native", out, combine={"average": [other]})
    first, second, made = load_file(one), load_file(other), load_file(out)
    norms = [key for key in made if key.endswith(".dora_scale")]
    assert norms
    assert all(torch.allclose(made[key], (first[key] + second[key]) / 2) for key in norms)
    for combine in ({"merge": [other]}, {"rank": 1}):
        with pytest.raises(UsageError, match="DoRA"):
            convert(one, "native", out, combine=combine)
    plain = saved(tmp_path, "diffusers", lora_of(PLAIN, dora=True), "diffusers")
    with pytest.raises(UsageError, match="two ways"):
        convert(one, "native", out, combine={"average": [plain]})


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("kind", ["lora", "lokr", "loha"])
def test_a_lower_rank_of_every_kind_is_a_lora_in_every_spelling(tmp_path, kind, target):
    one = saved(tmp_path, "one", lora_of(PLAIN, kind=kind), "kohya")
    out = tmp_path / "out.safetensors"
    _, summary = convert(one, target, out, combine={"rank": 1})
    rows = {name: now for name, _, now in summary.tables[0].rows}
    assert rows["rank"] == "1"
    assert 0 < min(summary.details["kept"].values()) < 1
    metadata = read_metadata(out)
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("1", "1")
    assert json.loads(metadata["blissmask.combined"])["rank"] == 1
    assert not summary.warnings


def test_a_rank_above_that_of_the_file_is_told_to_have_lowered_nothing(tmp_path):
    _, summary = convert(
        saved(tmp_path, "one", lora_of(PLAIN), "kohya"), "kohya", tmp_path / "out.safetensors", combine={"rank": 4}
    )
    assert [problem.what for problem in summary.warnings] == [
        "no layer has a rank above 4, so `--rank` has lowered none"
    ]


@pytest.mark.parametrize("target", ["native", "kohya"])
@pytest.mark.parametrize("kind", ["lokr", "loha"])
@pytest.mark.parametrize("family", APART)
def test_a_lower_rank_has_the_keys_of_a_lora_that_was_trained_where_parts_stand_apart(tmp_path, family, kind, target):
    one = saved(tmp_path, "one", lora_of(family, kind=kind), "native", family)
    trained = saved(tmp_path, "trained", lora_of(family), target, family)
    plan, _ = convert(one, target, tmp_path / "out.safetensors", combine={"rank": 1})
    made = load_file(tmp_path / "out.safetensors")
    assert made.keys() == load_file(trained).keys()
    assert not [key for key in made if ":" in key]
    # What is told is told of the LoRA, as where another LoRA is converted.
    as_lora, _ = convert(trained, target, tmp_path / "same.safetensors", combine={"rank": 1})
    assert [problem.what for problem in plan.warnings] == [problem.what for problem in as_lora.warnings]


def test_a_second_run_does_nothing_until_a_file_or_a_strength_changes(tmp_path):
    one, other = (
        saved(tmp_path, "one", lora_of(PLAIN), "native"),
        saved(tmp_path, "other", lora_of(PLAIN, seed=9), "kohya"),
    )
    out = tmp_path / "out.safetensors"
    again = {"merge": [other]}
    convert(one, "native", out, combine=again)
    assert [item.action for item in convert(one, "native", out, combine=again)[0].items] == [Action.SKIP]
    plan, _ = convert(one, "native", out, combine={**again, "strength": [1.0, 0.5]})
    assert [item.action for item in plan.items] == [Action.WRITE]
    saved(tmp_path, "other", lora_of(PLAIN, seed=7), "kohya")
    plan, _ = convert(one, "native", out, combine={**again, "strength": [1.0, 0.5]})
    assert [item.action for item in plan.items] == [Action.WRITE]


@pytest.mark.parametrize(
    ("combine", "message"),
    [
        ({"average": ["other"], "merge": ["other"]}, "two ways"),
        ({"average": ["other"], "strength": [1.0, 1.0, 1.0]}, "is given 3 times"),
        ({"average": ["other"], "strength": [0.0]}, "above 0"),
        ({"strength": [2.0]}, "no files to weigh"),
        ({"merge": ["foreign"]}, "this LoRA is for"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(tmp_path, combine, message):
    one = saved(tmp_path, "one", lora_of(PLAIN), "kohya")
    saved(tmp_path, "other", lora_of(PLAIN), "kohya")
    foreign = next(name for name in NAMES if family_of(name).metadata_name != family_of(PLAIN).metadata_name)
    saved(tmp_path, "foreign", lora_of(foreign), "kohya", foreign)
    files = {
        name: [tmp_path / f"{value}.safetensors" for value in values] if name != "strength" else values
        for name, values in combine.items()
    }
    with pytest.raises(UsageError, match=message):
        convert(one, "native", tmp_path / "out.safetensors", combine=files)


def test_files_of_both_experts_are_told(tmp_path):
    high, low = (saved(tmp_path, f"kyla-{expert}", lora_of(PLAIN), "native") for expert in ("high", "low"))
    plan, _ = convert(high, "native", tmp_path / "out.safetensors", combine={"merge": [low]})
    assert any("low-noise expert" in warning.what for warning in plan.warnings)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"combine": {"rank": 4}}, "`rank` belongs to `--convert-lora`"),
        ({"combine": {"average": ["a.safetensors"], "rank": 4}}, "`average`, `rank` belong to `--convert-lora`"),
        ({"ranking": {"rank_file": ["a.safetensors"]}}, "`rank_file` names what is ranked, and no ranking is asked"),
        # A plan that needs no data set.
        ({"combine": {"rank": 4}, "run": {"dry_run": True}, "model": {"arch": PLAIN}}, "`rank` belongs to"),
    ],
)
def test_the_options_alone_are_no_training_and_that_is_told_before_a_data_set_is_missed(options, told):
    with pytest.raises(UsageError, match=told):
        plan_training_or_forecast(Config.model_validate(options))
