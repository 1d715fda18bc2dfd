"""`train --convert-lora`: every family and spelling, there and back, without a model and without touching the input."""

import functools
import hashlib
import itertools
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from blissmask.config.model import Config
from blissmask.errors import InputError, ModelError, UsageError
from blissmask.tasks.convert_lora import convert_lora
from blissmask.tasks.run.plan import Action
from blissmask.training.lora.file import load_lora
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from tests.builders.command import run_here
from tests.builders.families import CACHE_SUFFIX, NAMES, PLAIN, family_of, tiny_denoiser
from tests.builders.lora_conversion import assert_same, convert, plan_conversion, there_and_back
from tests.builders.lora_file import save_lora
from tests.builders.pictures import tree
from tests.builders.training import problems_of, seeded, tensors_of

METADATA = {
    "ss_base_model_version": CACHE_SUFFIX,
    "ss_training_comment": "kyla",
    "sshs_model_hash": "old",
    "sshs_legacy_hash": "old",
}


def lora_of(name, *, seed=0, alpha=1.0, kind="lora"):
    """Return a LoRA with all its matrices drawn anew; the miniature in which it is injected is one for all of its kind."""
    lora = _injected(name, alpha, kind)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=seed + number)
    return lora


@functools.cache
def _injected(name, alpha, kind):
    return inject_lora(tiny_denoiser(name), LoraShape(rank=2, alpha=alpha, kind=kind), seed=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("first", "second"), [("native", "kohya"), ("kohya", "native"), ("diffusers", "native"), ("diffusers", "kohya")]
)
def test_there_and_back_is_the_same_file(tmp_path, name, first, second):
    # Only files of diffusers have no alpha; with an alpha of the rank the scale that they lack is 1.
    alpha = family_of(name).native_alpha
    save_lora(tmp_path / "start.safetensors", lora_of(name, alpha=2.0), METADATA, file_format=first, native_alpha=alpha)
    back = there_and_back(tmp_path / "start.safetensors", second, first, tmp_path, name)
    start = tensors_of(tmp_path / "start.safetensors")
    assert_same(start, back)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("source", "target"), itertools.permutations(["native", "kohya", "diffusers"], 2))
def test_a_converted_file_is_what_training_would_have_written(tmp_path, name, source, target):
    lora = lora_of(name)
    save_lora(tmp_path / "source.safetensors", lora, {}, file_format=source)
    save_lora(tmp_path / "expected.safetensors", lora, {}, file_format=target)
    expected = {layer: b @ a for layer, (a, b) in lora.matrices().items()}
    convert(tmp_path / "source.safetensors", target, tmp_path / "converted.safetensors", arch=name)
    fresh = lora_of(name, seed=50)
    load_lora(tmp_path / "converted.safetensors", fresh)
    loaded = {layer: b @ a for layer, (a, b) in fresh.matrices().items()}
    assert all(torch.equal(product, loaded[layer]) for layer, product in expected.items())
    assert matrices_in(tmp_path / "converted.safetensors") == matrices_in(tmp_path / "expected.safetensors")


def matrices_in(path):
    return {key for key in tensors_of(path) if not key.endswith(".alpha")}


def test_blocks_beyond_those_of_the_miniature_are_known(tmp_path):
    tensors = {
        "lora_unet_blocks_39_cross_attn_k_img.lora_down.weight": seeded(2, 8),
        "lora_unet_blocks_39_cross_attn_k_img.lora_up.weight": seeded(8, 2, seed=1),
        "lora_unet_blocks_39_cross_attn_k_img.alpha": torch.tensor(1.0),
    }
    save_file(tensors, tmp_path / "musubi.safetensors", metadata=METADATA)
    convert(tmp_path / "musubi.safetensors", "native", tmp_path / "native.safetensors")
    assert "diffusion_model.blocks.39.cross_attn.k_img.lora_A.weight" in tensors_of(tmp_path / "native.safetensors")


@pytest.mark.parametrize("kind", ["lokr", "loha"])
def test_lokr_and_loha_go_between_native_and_kohya_and_not_to_diffusers(tmp_path, kind):
    save_lora(tmp_path / "start.safetensors", lora_of(PLAIN, kind=kind), {})
    assert_same(
        tensors_of(tmp_path / "start.safetensors"),
        there_and_back(tmp_path / "start.safetensors", "kohya", "native", tmp_path, PLAIN),
    )
    with pytest.raises(UsageError, match="no spelling for LoKr and LoHa"):
        plan_conversion(tmp_path / "start.safetensors", "diffusers", tmp_path / "out.safetensors", arch=PLAIN)


@pytest.mark.parametrize("suffix", ["default", "kyla"])
def test_the_name_of_an_adapter_is_left_out(tmp_path, suffix):
    save_lora(tmp_path / "start.safetensors", lora_of(PLAIN, alpha=2.0), METADATA)
    start = tensors_of(tmp_path / "start.safetensors")
    named = {
        key.replace("lora_A.", f"lora_A.{suffix}.").replace("lora_B.", f"lora_B.{suffix}."): value
        for key, value in start.items()
    }
    save_file(named, tmp_path / "peft.safetensors", metadata=METADATA)
    assert_same(start, there_and_back(tmp_path / "peft.safetensors", "kohya", "native", tmp_path, PLAIN))


def test_two_adapters_in_a_file_are_refused(tmp_path):
    matrices = {"lora_A": seeded(2, 8), "lora_B": seeded(8, 2)}
    layer = "diffusion_model.blocks.0.self_attn.q"
    tensors = {f"{layer}.{part}.{name}.weight": m.clone() for name in ("a", "b") for part, m in matrices.items()}
    save_file(tensors, tmp_path / "two.safetensors")
    with pytest.raises(ModelError, match="several LoRA"):
        convert(tmp_path / "two.safetensors", "kohya", tmp_path / "out.safetensors", arch=PLAIN)


@pytest.mark.parametrize("kind", ["diff", "diff_b"])
def test_what_is_added_to_whole_weights_is_refused_for_what_it_is(tmp_path, kind):
    save_lora(tmp_path / "start.safetensors", lora_of(PLAIN), METADATA)
    tensors = {**tensors_of(tmp_path / "start.safetensors"), f"diffusion_model.blocks.0.self_attn.q.{kind}": seeded(8)}
    save_file(tensors, tmp_path / "more.safetensors", metadata=METADATA)
    with pytest.raises(ModelError, match="more than a LoRA") as caught:
        convert(tmp_path / "more.safetensors", "kohya", tmp_path / "out.safetensors")
    assert f"blocks.0.self_attn.q.{kind}" in problems_of(caught.value)
    with pytest.raises(ModelError, match="more than a LoRA"):
        load_lora(tmp_path / "more.safetensors", lora_of(PLAIN))


def test_metadata_is_kept_and_hashes_are_of_the_new_file(tmp_path):
    save_lora(tmp_path / "native.safetensors", lora_of(PLAIN), METADATA)
    convert(tmp_path / "native.safetensors", "kohya", tmp_path / "kohya.safetensors")
    with safe_open(tmp_path / "kohya.safetensors", framework="pt") as file:
        metadata = file.metadata()
    raw = (tmp_path / "kohya.safetensors").read_bytes()
    content = hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()
    assert metadata["ss_training_comment"] == "kyla"
    assert metadata["sshs_model_hash"] == content
    assert "sshs_legacy_hash" not in metadata


def test_the_input_is_not_touched_and_the_summary_says_what_was_done(tmp_path):
    save_lora(tmp_path / "native.safetensors", lora_of(PLAIN), METADATA)
    before = (tmp_path / "native.safetensors").read_bytes()
    _, summary = convert(tmp_path / "native.safetensors", "kohya", tmp_path / "kohya.safetensors")
    assert (tmp_path / "native.safetensors").read_bytes() == before
    rows = {name: (was, now) for name, was, now in summary.tables[0].rows}
    assert rows["spelling"] == ("native", "kohya")
    assert rows["alpha / rank"] == ("0.5", "0.5")
    assert rows["layers"] == ("20", "20")


def test_without_a_name_the_file_is_called_after_the_spelling(tmp_path):
    save_lora(tmp_path / "kyla.safetensors", lora_of(PLAIN), METADATA)
    section = {"convert_lora": tmp_path / "kyla.safetensors", "lora_format": "kohya", "output_dir": tmp_path}
    assert convert_lora.plan(Config.model_validate({"saving": section})).target == tmp_path / "kyla-kohya.safetensors"


def test_precision_stays_unless_it_is_asked_for(tmp_path):
    save_lora(tmp_path / "native.safetensors", lora_of(PLAIN), METADATA, precision="bfloat16")
    convert(tmp_path / "native.safetensors", "kohya", tmp_path / "kept.safetensors")
    convert(tmp_path / "native.safetensors", "kohya", tmp_path / "wide.safetensors", save_precision="float32")
    kinds = [
        {v.dtype for v in load_file(tmp_path / name).values() if v.ndim}
        for name in ("kept.safetensors", "wide.safetensors")
    ]
    assert kinds == [{torch.bfloat16}, {torch.float32}]


def test_a_second_run_does_nothing_and_a_changed_input_is_converted_again(tmp_path):
    source, target = tmp_path / "native.safetensors", tmp_path / "kohya.safetensors"
    save_lora(source, lora_of(PLAIN), METADATA)
    convert(source, "kohya", target)
    assert [item.action for item in convert(source, "kohya", target)[0].items] == [Action.SKIP]
    save_lora(source, lora_of(PLAIN, seed=9), METADATA)
    assert [item.action for item in convert(source, "kohya", target)[0].items] == [Action.WRITE]


def test_a_file_that_is_not_ours_is_overwritten_with_force_alone(tmp_path):
    save_lora(tmp_path / "native.safetensors", lora_of(PLAIN), METADATA)
    save_lora(tmp_path / "mine.safetensors", lora_of(PLAIN, seed=3), METADATA)
    with pytest.raises(InputError, match="another file has the name"):
        convert(tmp_path / "native.safetensors", "kohya", tmp_path / "mine.safetensors")
    with pytest.raises(UsageError, match="over itself"):
        convert(tmp_path / "native.safetensors", "kohya", tmp_path / "native.safetensors", force=True)
    convert(tmp_path / "native.safetensors", "kohya", tmp_path / "mine.safetensors", force=True)


def test_layers_of_no_known_name_are_refused_by_name_and_nothing_is_written(tmp_path):
    layers = ("blocks_0_self_attn_q", "down_blocks_0_to_q")
    matrices = {"lora_down.weight": seeded(2, 8), "lora_up.weight": seeded(8, 2)}
    save_file(
        {f"lora_unet_{layer}.{part}": value.clone() for layer in layers for part, value in matrices.items()},
        tmp_path / "sdxl.safetensors",
    )
    with pytest.raises(ModelError, match="2 of 4 tensors in this file are of no layer") as caught:
        convert(tmp_path / "sdxl.safetensors", "native", tmp_path / "out.safetensors", arch=PLAIN)
    assert "lora_unet_down_blocks_0_to_q" in problems_of(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_what_is_no_lora_is_refused(tmp_path):
    save_file({"blocks.0.lora.down.weight": seeded(2, 2)}, tmp_path / "lora.safetensors")
    with pytest.raises(ModelError, match="no LoRA in a spelling"):
        convert(tmp_path / "lora.safetensors", "native", tmp_path / "out.safetensors", arch=PLAIN)


def test_a_name_that_leads_out_of_the_output_folder_is_refused(tmp_path):
    save_lora(tmp_path / "native.safetensors", lora_of(PLAIN), {})
    with pytest.raises(UsageError, match="`output_name` must be a plain file name"):
        convert(tmp_path / "native.safetensors", "kohya", tmp_path / "out.safetensors", output_name="../out")


def test_a_name_is_as_long_as_the_file_system_takes(tmp_path):
    """A training has files with more behind the name, a conversion has this one."""
    save_lora(tmp_path / "native.safetensors", lora_of(PLAIN), METADATA)
    convert(tmp_path / "native.safetensors", "kohya", tmp_path / "out.safetensors", output_name="é" * 121 + "x")
    assert (tmp_path / f"{'é' * 121}x.safetensors").is_file()
    with pytest.raises(UsageError, match="the name of the converted LoRA has 256 bytes, and 255 are possible"):
        convert(tmp_path / "native.safetensors", "kohya", tmp_path / "out.safetensors", output_name="x" * 244)


def test_a_family_that_the_file_does_not_name_is_asked_for(tmp_path):
    save_lora(tmp_path / "native.safetensors", lora_of(PLAIN), {})
    with pytest.raises(UsageError, match="which family it is for"):
        convert(tmp_path / "native.safetensors", "kohya", tmp_path / "out.safetensors")


def test_a_file_that_is_spelled_so_already_is_not_copied(tmp_path):
    save_lora(tmp_path / "native.safetensors", lora_of(PLAIN), METADATA)
    with pytest.raises(UsageError, match="spelled the native way already"):
        convert(tmp_path / "native.safetensors", "native", tmp_path / "out.safetensors")


class Touches:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def missing(path):
    """Write nothing."""


def truncated(path):
    save_lora(path, lora_of(PLAIN), METADATA)
    path.write_bytes(path.read_bytes()[:-40])


def hostile(path):
    torch.save({"lora_unet_blocks_0_self_attn_q.alpha": Touches(path.with_name("touched"))}, path)


def not_a_number(path):
    save_lora(path, lora_of(PLAIN), METADATA)
    tensors = load_file(path)
    tensors["diffusion_model.blocks.0.self_attn.q.lora_A.weight"][0, 0] = float("nan")
    save_file(tensors, path, metadata=METADATA)


@pytest.mark.parametrize(
    ("spoil", "name", "told"),
    [
        (missing, "kyla.safetensors", "error: there is no such LoRA file\n  kyla.safetensors"),
        (truncated, "kyla.safetensors", "error: the LoRA file is damaged or not safetensors\n  kyla.safetensors"),
        (hostile, "kyla.pt", "error: the LoRA file is damaged or not safetensors\n  kyla.pt"),
        (not_a_number, "kyla.safetensors", "NaN"),
    ],
    ids=["missing", "truncated", "pickle", "NaN"],
)
def test_a_file_that_cannot_be_converted_ends_the_command_with_a_word_and_nothing_is_made(tmp_path, spoil, name, told):
    spoil(tmp_path / name)
    ran = run_here(f"blissmask train --convert-lora {name} --lora-format kohya --output-dir out", tmp_path)
    assert ran.code == 1
    assert told in ran.err
    assert not (tmp_path / "touched").exists()
    assert tree(tmp_path / "out") == {}
