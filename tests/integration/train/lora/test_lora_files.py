"""The LoRA files of every family load back exactly, here and in diffusers."""

import pytest
import torch

from blissmask.families.previews import PipelineParts, euler
from blissmask.training.lora.file import load_lora, save_lora
from blissmask.training.lora.layers import LoraShape, inject_lora
from tests.builders.families import CPU, NAMES, family_of, has_fused_layers, tiny_denoiser
from tests.builders.training import seeded

FORMATS = ("native", "kohya", "diffusers")
SHAPE = LoraShape(rank=2, alpha=1.0)


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
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format="native")
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


def pipeline_class(name):
    """Return the class of the diffusers pipeline that the family draws previews with."""
    family = family_of(name)
    preview = family.preview_pipeline()
    denoisers = {expert.name: tiny_denoiser(name, expert=number).module for number, expert in enumerate(family.experts)}
    vae = preview.vae.load_tiny(device=CPU, dtype=torch.float32)
    return type(preview.pipeline(PipelineParts(denoisers, vae, euler(1.0, 1))))


def load_into(module, pipeline, folder):
    """Load ``kyla.safetensors`` with the pipeline's own loader; where it has none, its model has."""
    if hasattr(pipeline, "lora_state_dict"):
        state = pipeline.lora_state_dict(str(folder), weight_name="kyla.safetensors")
        pipeline.load_lora_into_transformer(state, transformer=module)
    else:
        module.load_lora_adapter(
            str(folder), weight_name="kyla.safetensors", prefix="transformer", use_safetensors=True
        )


def error_of(module, lora):
    """Return the largest difference between what diffusers adds to a weight and what was trained."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}
    assert layers.keys() == lora.layers.keys()
    expected = products(lora)
    worst = 0.0
    for name, layer in layers.items():
        (adapter,) = layer.lora_A.keys()
        theirs = (layer.scaling[adapter] * layer.lora_B[adapter].weight @ layer.lora_A[adapter].weight).detach()
        worst = max(worst, float((theirs - expected[lora.original_name(name)]).abs().max()))
    return worst
