"""The LoRA files of every family load back exactly, here and in diffusers."""

import dataclasses
import functools

import pytest
import torch

from blissmask.families.registry import load_family
from blissmask.training.lora.file import load_lora, lora_contents
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from tests.builders.diffusers_lora import error_of, load_into, pipeline_class
from tests.builders.families import NAMES, PLAIN, has_fused_layers, tiny_denoiser
from tests.builders.lora_file import save_lora
from tests.builders.training import seeded

FORMATS = ("native", "kohya", "diffusers")
SHAPE = LoraShape(rank=2, alpha=1.0)


@functools.cache
def trained_lora(name):
    """Return a LoRA whose matrices are all different from zero and from each other."""
    lora = inject_lora(tiny_denoiser(name), SHAPE, seed=0)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    return lora


def products(lora):
    return {name: lora.shape.scaling * b @ a for name, (a, b) in lora.matrices().items()}


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_every_family_and_format_comes_back_exactly(tmp_path, name, file_format):
    lora = trained_lora(name)
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format=file_format)
    fresh = inject_lora(tiny_denoiser(name), SHAPE, seed=1)
    load_lora(tmp_path / "kyla.safetensors", fresh)
    expected, loaded = products(lora), products(fresh)
    assert expected.keys() == loaded.keys()
    assert max(float((expected[layer] - loaded[layer]).abs().max()) for layer in expected) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_every_family_loads_into_diffusers_exactly(tmp_path, name):
    lora, target = trained_lora(name), tiny_denoiser(name).module
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format="diffusers")
    load_into(target, pipeline_class(name), tmp_path)
    assert error_of(target, lora) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_a_native_file_loads_into_the_diffusers_pipeline_exactly(tmp_path, name):
    denoiser = tiny_denoiser(name)
    if has_fused_layers(denoiser):
        pytest.skip("diffusers splits fused layers at the widths of the released model")
    lora = trained_lora(name)
    save_lora(
        tmp_path / "kyla.safetensors", lora, {}, file_format="native", native_alpha=load_family(name).native_alpha
    )
    load_into(denoiser.module, pipeline_class(name), tmp_path)
    assert error_of(denoiser.module, lora) == 0.0


def test_a_layer_of_which_one_part_is_adapted_comes_back(tmp_path):
    name = next(name for name in NAMES if has_fused_layers(tiny_denoiser(name)))
    shape = LoraShape(rank=2, alpha=1.0, exclude=(r".*:[kv]", r".*:mlp"))
    lora = inject_lora(tiny_denoiser(name), shape, seed=0)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    save_lora(tmp_path / "kyla.safetensors", lora, {})
    fresh = inject_lora(tiny_denoiser(name), shape, seed=1)
    load_lora(tmp_path / "kyla.safetensors", fresh)
    assert all(torch.equal(product, products(fresh)[layer]) for layer, product in products(lora).items())


@pytest.mark.parametrize(
    "shape", [SHAPE, dataclasses.replace(SHAPE, dora=True), dataclasses.replace(SHAPE, kind="lokr")]
)
def test_what_a_file_holds_stays_while_the_weights_train_on(shape):
    lora = inject_lora(tiny_denoiser(PLAIN), shape, seed=0)
    held = lora_contents(lora, {}).tensors
    before = {name: tensor.clone() for name, tensor in held.items()}
    with torch.no_grad():
        for _, parameter in lora.named_parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in held.items())
