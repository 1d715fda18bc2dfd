"""DoRA in files: ComfyUI divides by the norm of the frozen weight, peft and diffusers by that of the changed one."""

import pytest
import torch
from safetensors import safe_open

from blissmask.errors import UsageError
from blissmask.families.files.part import Part
from blissmask.training.lora.file import DORA_DIVISOR, load_lora
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import ADAPTER, LoraShape
from tests.builders.families import PLAIN, family_of, tiny_denoiser
from tests.builders.lora_conversion import convert
from tests.builders.lora_file import save_lora
from tests.builders.single_files import written
from tests.builders.training import problems_of, seeded, tensors_of

SHAPE = LoraShape(rank=4, alpha=2.0, dora=True)


@pytest.fixture
def lora():
    """Return a LoRA that changes the weights by about their own size, and the norms by a tenth."""
    made = inject_lora(tiny_denoiser(PLAIN), SHAPE, seed=0)
    for number, (name, parameter) in enumerate(made.named_parameters()):
        change = seeded(*parameter.shape, seed=number)
        parameter.data = parameter.data * (1 + 0.1 * change) if "magnitude" in name else 0.2 * change
    return made


def weights_of(lora):
    """Return original name -> the weight with which a layer computes, as peft does."""
    found = {}
    for name, layer in lora.layers.items():
        base = layer.get_base_layer()
        with torch.no_grad():
            outputs = layer(torch.eye(base.in_features)) - (0 if base.bias is None else base.bias)
        found[lora.original_name(name)] = outputs.T
    return found


def in_comfyui(lora, tensors):
    """Return original name -> the weight that ComfyUI 0.33 computes with, written out from its formula."""
    found = {}
    for name, layer in lora.layers.items():
        key = f"diffusion_model.{lora.original_name(name)}"
        plain = layer.get_base_layer().weight.detach()
        a, b = tensors[f"{key}.lora_A.weight"], tensors[f"{key}.lora_B.weight"]
        changed = plain + tensors[f"{key}.alpha"] / a.shape[0] * (b @ a)
        divisor = plain.norm(dim=1, keepdim=True)
        found[lora.original_name(name)] = changed * (tensors[f"{key}.dora_scale"] / divisor)
    return found


def test_a_native_file_is_exact_in_comfyui(tmp_path, lora):
    save_lora(tmp_path / "kyla.safetensors", lora, {})
    expected, theirs = weights_of(lora), in_comfyui(lora, tensors_of(tmp_path / "kyla.safetensors"))
    for name, weight in expected.items():
        torch.testing.assert_close(theirs[name], weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("file_format", ["native", "kohya", "diffusers"])
def test_the_trained_norms_come_back(tmp_path, lora, file_format):
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format=file_format)
    with safe_open(tmp_path / "kyla.safetensors", framework="pt") as file:
        assert (file.metadata().get(DORA_DIVISOR) == "base") == (file_format != "diffusers")
    fresh = inject_lora(tiny_denoiser(PLAIN), SHAPE, seed=1)
    load_lora(tmp_path / "kyla.safetensors", fresh)
    for name, norms in lora.magnitudes().items():
        torch.testing.assert_close(fresh.magnitudes()[name], norms, rtol=1e-5, atol=0)


def test_files_of_trainers_that_divide_by_the_changed_weight_are_taken_as_they_are(tmp_path, lora):
    save_lora(tmp_path / "ours.safetensors", lora, {}, file_format="diffusers")
    fresh = inject_lora(tiny_denoiser(PLAIN), SHAPE, seed=1)
    load_lora(tmp_path / "ours.safetensors", fresh)
    assert all(torch.equal(norms, fresh.magnitudes()[name]) for name, norms in lora.magnitudes().items())


@pytest.mark.parametrize("by_base", [True, False])
def test_a_lora_without_norms_is_the_same_weights_in_a_run_with_them(tmp_path, lora, by_base):
    """Its norms are those of W + B @ A; another candidate of a ranking may have left its own."""
    plain = inject_lora(tiny_denoiser(PLAIN), LoraShape(rank=4, alpha=2.0), seed=0)
    for number, (_, parameter) in enumerate(plain.named_parameters()):
        parameter.data = 0.2 * seeded(*parameter.shape, seed=number)
    save_lora(tmp_path / "plain.safetensors", plain, {DORA_DIVISOR: "base"} if by_base else {})
    load_lora(tmp_path / "plain.safetensors", lora)
    for name, weight in weights_of(plain).items():
        torch.testing.assert_close(weights_of(lora)[name], weight, rtol=0, atol=1e-5)


@pytest.fixture
def model_file(tmp_path):
    """Return the denoiser in a single file: conversion needs its weights."""
    part = family_of(PLAIN).experts[0].part
    assert isinstance(part, Part)
    return written(tmp_path / "model.safetensors", tiny_denoiser(PLAIN).module.state_dict())


@pytest.mark.parametrize(
    ("first", "second"), [("native", "diffusers"), ("diffusers", "native"), ("diffusers", "kohya")]
)
def test_conversion_computes_the_norms_of_the_other_kind(tmp_path, lora, model_file, first, second):
    save_lora(tmp_path / "start.safetensors", lora, {}, file_format=first)
    save_lora(tmp_path / "expected.safetensors", lora, {}, file_format=second)
    convert(tmp_path / "start.safetensors", second, tmp_path / "out.safetensors", arch=PLAIN, dit=model_file)
    fresh = inject_lora(tiny_denoiser(PLAIN), SHAPE, seed=1)
    load_lora(tmp_path / "out.safetensors", fresh)
    for name, norms in lora.magnitudes().items():
        torch.testing.assert_close(fresh.magnitudes()[name], norms, rtol=1e-5, atol=0)


def test_without_the_model_it_is_refused_in_the_plan(tmp_path, lora):
    save_lora(tmp_path / "start.safetensors", lora, {})
    with pytest.raises(UsageError, match="norms of DoRA are of another kind") as caught:
        convert(tmp_path / "start.safetensors", "diffusers", tmp_path / "out.safetensors", arch=PLAIN)
    assert "--dit" in problems_of(caught.value)


def test_between_native_and_kohya_nothing_is_computed(tmp_path, lora):
    save_lora(tmp_path / "start.safetensors", lora, {})
    convert(tmp_path / "start.safetensors", "kohya", tmp_path / "kohya.safetensors", arch=PLAIN)
    start, other = tensors_of(tmp_path / "start.safetensors"), tensors_of(tmp_path / "kohya.safetensors")
    layer = lora.original_name(next(iter(lora.layers)))
    kohya = f"lora_unet_{layer.replace('.', '_')}.dora_scale"
    assert torch.equal(start[f"diffusion_model.{layer}.dora_scale"], other[kohya])


def test_a_layer_whose_output_is_zero_stays_finite(tmp_path):
    denoiser = tiny_denoiser(PLAIN)
    made = inject_lora(denoiser, SHAPE, seed=0)
    layer = next(iter(made.layers.values()))
    layer.get_base_layer().weight.data[0] = 0
    layer.lora_magnitude_vector[ADAPTER].weight.data[0] = 0
    save_lora(tmp_path / "kyla.safetensors", made, {})
    assert all(bool(torch.isfinite(value).all()) for value in tensors_of(tmp_path / "kyla.safetensors").values())
