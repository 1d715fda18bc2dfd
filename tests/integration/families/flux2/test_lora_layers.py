"""FLUX.2 keeps query, key and value of a double block in one layer: its LoRA files in diffusers' own pipelines."""

import pytest

from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from tests.builders.diffusers_lora import error_of, load_into, pipeline_class
from tests.builders.families import tiny_denoiser
from tests.builders.lora_file import save_lora
from tests.builders.training import seeded, tensors_of


@pytest.mark.parametrize("file_format", ["native", "kohya", "diffusers"])
@pytest.mark.parametrize("name", ["flux2-klein-4b", "flux2-klein-9b", "flux2-dev"])
def test_a_file_of_every_format_loads_into_the_pipeline_with_every_tensor_used(tmp_path, name, file_format):
    """Unlike that of HunyuanVideo, diffusers' converter divides fused layers of any width."""
    lora = inject_lora(tiny_denoiser(name), LoraShape(rank=2, alpha=1.0), seed=0)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format=file_format)
    target = tiny_denoiser(name).module
    load_into(target, pipeline_class(name), tmp_path)
    assert error_of(target, lora) < 1e-6


def test_a_native_file_has_fused_layers_and_no_alpha(tmp_path):
    """The converter of diffusers refuses whatever it does not know."""
    save_lora(tmp_path / "kyla.safetensors", inject_lora(tiny_denoiser("flux2-dev"), LoraShape(2, 1.0), seed=0), {})
    keys = tensors_of(tmp_path / "kyla.safetensors").keys()
    assert "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight" in keys
    assert "diffusion_model.single_blocks.0.linear1.lora_B.weight" in keys
    assert not [key for key in keys if key.endswith("alpha")]
