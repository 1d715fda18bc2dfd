"""Single files of Z-Image in every published layout load into the real classes with the weights of the source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from blissmask.families.encoders import qwen3
from blissmask.families.files.loading import build_empty
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.stored_tensors import StoredTensor
from blissmask.families.vae import kl
from blissmask.families.zimage import parts, tiny
from blissmask.families.zimage.names import COMFYUI, rename_denoiser
from blissmask.training.memory.estimate import size_of
from tests.builders.families import family_of
from tests.builders.single_files import FP32, assert_same_weights, state_of, stored_shapes, written

# A line of each kind of ComfyUI's `z_image_bf16.safetensors`, with its shape.
PUBLISHED = {
    "x_embedder.weight": (3840, 64),
    "x_pad_token": (1, 3840),
    "cap_pad_token": (1, 3840),
    "cap_embedder.0.weight": (2560,),
    "cap_embedder.1.weight": (3840, 2560),
    "t_embedder.mlp.0.weight": (1024, 256),
    "t_embedder.mlp.2.bias": (256,),
    "noise_refiner.1.attention.qkv.weight": (11520, 3840),
    "noise_refiner.1.adaLN_modulation.0.weight": (15360, 256),
    "context_refiner.0.attention.out.weight": (3840, 3840),
    "layers.29.attention.qkv.weight": (11520, 3840),
    "layers.29.attention.q_norm.weight": (128,),
    "layers.29.attention.k_norm.weight": (128,),
    "layers.29.attention.out.weight": (3840, 3840),
    "layers.29.feed_forward.w1.weight": (10240, 3840),
    "layers.29.feed_forward.w2.weight": (3840, 10240),
    "layers.29.attention_norm1.weight": (3840,),
    "layers.29.ffn_norm2.weight": (3840,),
    "layers.29.adaLN_modulation.0.bias": (15360,),
    "final_layer.linear.weight": (64, 3840),
    "final_layer.adaLN_modulation.1.weight": (3840, 256),
}


def in_comfyui_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write a denoiser as ComfyUI does: one layer for query, key and value, and a norm that nothing reads."""
    stored: dict[str, Tensor] = {"norm_final.weight": torch.ones(4)}
    for name, value in state.items():
        if re.search(r"attention\.to_[kv]\.", name):
            continue
        if name.endswith("attention.to_q.weight"):
            whole = torch.cat([state[name.replace("to_q", f"to_{letter}")] for letter in "qkv"])
            stored[name.replace("to_q", "qkv")] = whole
            continue
        stored[COMFYUI.to_original(name)] = value
    return stored


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("layout", ["comfyui", "diffusers"])
def test_the_denoiser_loads_from_every_layout(tmp_path: Path, layout: str, prefix: str):
    _, state = state_of(tiny.denoiser)
    stored = {"comfyui": in_comfyui_layout(state), "diffusers": state}[layout]
    path = written(tmp_path / "z_image.safetensors", stored, prefix)
    loaded = parts.DENOISER.load_file(path, **FP32)
    assert_same_weights(loaded, state)
    assert loaded.state_dict().keys() == state.keys()


@pytest.mark.parametrize("per_row", [False, True])
def test_fused_layers_of_an_fp8_scaled_file_come_apart_scaled(tmp_path: Path, per_row: bool):
    _, state = state_of(tiny.denoiser)
    stored = in_comfyui_layout(state)
    expected = dict(state)
    for name in [name for name in stored if name.endswith((".qkv.weight", ".w1.weight"))]:
        weight = stored[name]
        scale = weight.abs().amax(dim=1, keepdim=True) / 448 if per_row else weight.abs().max() / 448
        stored[name] = (weight / scale).to(torch.float8_e4m3fn)
        stored[name.replace("weight", "weight_scale" if per_row else "scale_weight")] = scale
        rounded = stored[name].float() * scale
        if name.endswith("qkv.weight"):
            for letter, rows in zip("qkv", rounded.chunk(3), strict=True):
                expected[name.replace("qkv", f"to_{letter}")] = rows
        else:
            expected[name] = rounded
    path = written(tmp_path / "z_image_fp8_scaled.safetensors", {**stored, "scaled_fp8": torch.zeros(2)})
    assert_same_weights(parts.DENOISER.load_file(path, **FP32), expected)


def test_every_name_and_shape_of_the_full_size_file_is_mapped_and_none_is_left():
    from diffusers import ZImageTransformer2DModel

    made = build_empty(lambda: ZImageTransformer2DModel(axes_lens=[1536, 512, 512]))
    stored = {name: StoredTensor(tuple(value.shape), Tensor) for name, value in in_comfyui_layout(meta(made)).items()}
    assert {name: stored[name].shape for name in PUBLISHED} == PUBLISHED
    # 34 blocks: of their 15 tensors in diffusers, three are one; the context refiners have no modulation.
    assert len(stored) == 453 + 1
    renamed = {name: tensor for name, tensor in rename_denoiser(stored).items() if not name.startswith("norm_final.")}
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tuple(value.shape) for name, value in made.state_dict().items()
    }
    read = parts.denoiser_config(renamed, Path("file"))
    assert {name: made.config[name] for name in read} == read
    # The estimate of memory finds the blocks in both layouts.
    sizes = [size_of((name, tensor.shape) for name, tensor in layout.items()) for layout in (stored, renamed)]
    assert [(size.blocks, size.width) for size in sizes] == [(34, 3840), (34, 3840)]


def meta(module):
    return {name: torch.empty(value.shape, device="meta") for name, value in module.state_dict().items()}


def test_the_vae_in_ldm_names_encodes_as_its_source(tmp_path: Path):
    source, state = state_of(tiny.vae)
    names = kl.ldm_names(4)
    original = {
        names.to_original(name): value[..., None, None] if re.search(r"attentions\.0\.to_.*weight", name) else value
        for name, value in state.items()
    }
    path = written(tmp_path / "ae.safetensors", original)
    pixels = torch.rand(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoder = family_of("z-image").load_latent_encoder(ModelFiles(vae=path), **FP32)
    expected_BCHW = source.encode(pixels[:, :, 0]).latent_dist.mode()
    torch.testing.assert_close(encoder.encode(pixels)[:, :, 0], expected_BCHW, rtol=0, atol=1e-6)
    whole = parts.VAE.load_file(path, **FP32)
    assert_same_weights(whole, state)
    assert (whole.config.scaling_factor, whole.config.shift_factor) == (0.3611, 0.1159)
    assert (whole.tile_sample_min_size, whole.tile_latent_min_size) == (512, 64)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_text_encoder_loads_with_and_without_its_prefix_and_head(tmp_path: Path, prefix: str):
    _, state = state_of(qwen3.tiny)
    path = written(tmp_path / "qwen_3_4b.safetensors", {**state, "lm_head.weight": torch.zeros(4, 4)})
    if prefix:
        path = written(path, state, prefix)
    assert_same_weights(parts.TEXT_ENCODER.load_file(path, **FP32), state)


def test_full_size_shapes_of_the_vae_give_the_released_configuration():
    from diffusers import AutoencoderKL

    released = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "sample_size": 1024,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
    }
    made = build_empty(lambda: AutoencoderKL(**released))
    assert parts.vae_config(stored_shapes(made), Path("ae.safetensors")) == released
