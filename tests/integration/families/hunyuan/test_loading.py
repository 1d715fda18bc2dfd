"""Single files of HunyuanVideo in every published layout load into the real classes with the weights of the source."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blissmask.families.encoders.llama import CONSTANTS, config_of
from blissmask.families.encoders.taps import cut_after
from blissmask.families.hunyuan import names, parts, tiny
from blissmask.families.vae import hunyuan
from tests.builders.single_files import (
    FP32,
    assert_rebuilt_from_shapes,
    assert_same_weights,
    assert_transformer_rebuilt_from_shapes,
    state_of,
    written,
)
from tests.integration.families.hunyuan.layouts import in_comfyui_layout, in_original_layout, vae_in_comfyui_layout

LLAMA_8B = {"vocab_size": 128320, "hidden_size": 4096, "intermediate_size": 14336, "num_key_value_heads": 8}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}


@pytest.mark.parametrize("layout", ["original", "comfyui", "diffusers"])
def test_hunyuan_video_loads_from_every_layout(tmp_path: Path, layout: str):
    _, state = state_of(tiny.denoiser)
    original = in_original_layout(state, names.DENOISER)
    assert original["single_blocks.0.linear1.weight"].shape == (7 * 128, 128)
    stored = {"original": original, "comfyui": in_comfyui_layout(original), "diffusers": state}[layout]
    path = written(tmp_path / "hunyuan.safetensors", stored)
    assert_same_weights(parts.DENOISER.load_file(path, **FP32), state)


@pytest.mark.parametrize("prefix", ["", "vae."])
@pytest.mark.parametrize("decoder", [False, True])
def test_hunyuan_video_vae_loads(tmp_path: Path, prefix: str, decoder: bool):
    _, state = state_of(hunyuan.tiny)
    path = written(tmp_path / "vae.safetensors", state, prefix)
    vae = hunyuan.VAE if decoder else hunyuan.VAE_ENCODER
    assert_same_weights(vae.load_file(path, **FP32), state)


@pytest.mark.parametrize("prefix", ["", "model.", "model.model."])
@pytest.mark.parametrize("decoder", [False, True])
def test_the_vae_loads_from_comfyuis_layout(tmp_path: Path, prefix: str, decoder: bool):
    def growing():
        from diffusers import AutoencoderKLHunyuanVideo

        return AutoencoderKLHunyuanVideo(block_out_channels=(32, 64, 64, 96), layers_per_block=1)

    _, state = state_of(growing)
    stored = vae_in_comfyui_layout(state, stages=4)
    assert {
        "encoder.down.1.block.0.nin_shortcut.conv.weight",
        "encoder.mid.attn_1.q.weight",
        "encoder.norm_out.weight",
        "decoder.up.3.block.0.conv1.conv.weight",
        "decoder.up.3.upsample.conv.conv.weight",
    } <= stored.keys()
    assert stored["encoder.mid.attn_1.q.weight"].shape == (96, 96, 1, 1, 1)
    path = written(tmp_path / "vae.safetensors", stored, prefix)
    vae = hunyuan.VAE if decoder else hunyuan.VAE_ENCODER
    assert_same_weights(vae.load_file(path, **FP32), state)


@pytest.mark.parametrize("prefix", ["", "model.", "language_model.model."])
def test_llama_loads_under_every_prefix(tmp_path: Path, prefix: str):
    source, state = state_of(parts.LLAMA.tiny)
    path = written(
        tmp_path / "llama.safetensors",
        {**{prefix + key: value for key, value in state.items()}, "lm_head.weight": torch.zeros(2, 2)},
    )
    model = parts.LLAMA.load_file(path, **FP32)
    assert_same_weights(model, state)
    ids = torch.tensor([[5, 9, 7]])
    expected = source(input_ids=ids, output_hidden_states=True).hidden_states[-3]
    torch.testing.assert_close(cut_after(model, 2)(input_ids=ids).last_hidden_state, expected, rtol=0, atol=0)


def test_clip_loads(tmp_path: Path):
    _, state = state_of(tiny.clip_text)
    stored = {f"text_model.{key}": value for key, value in state.items()}
    path = written(tmp_path / "clip.safetensors", stored)
    assert_same_weights(parts.CLIP.load_file(path, **FP32), state)


@pytest.mark.parametrize("part", [parts.DENOISER, hunyuan.VAE])
def test_full_size_models_are_rebuilt_from_their_shapes(part):
    assert_rebuilt_from_shapes(part.class_path.removeprefix("diffusers."), {}, part.config_of)


def test_full_size_text_encoders_are_read_from_their_shapes():
    assert_transformer_rebuilt_from_shapes("LlamaModel", {**LLAMA_8B, **CONSTANTS}, config_of)
    assert_transformer_rebuilt_from_shapes("CLIPTextModel", CLIP_L, parts.clip_config)
