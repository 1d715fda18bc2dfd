"""Single files of Qwen-Image in every published layout load into the real classes with the weights of the source."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError
from blissmask.families.encoders import qwen_vl
from blissmask.families.files.loading import build_empty
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.qwen import parts, tiny
from blissmask.families.wan.names import wan21_vae
from tests.builders.families import family_of
from tests.builders.single_files import (
    FP32,
    assert_rebuilt_from_shapes,
    assert_same_weights,
    state_of,
    stored_shapes,
    written,
)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_qwen_image_loads_with_and_without_prefix(tmp_path: Path, prefix: str):
    _, state = state_of(tiny.denoiser)
    path = written(tmp_path / "qwen.safetensors", state, prefix)
    assert_same_weights(parts.DENOISER.load_file(path, **FP32), state)


def test_qwen_image_2512_in_float8_loads_as_qwen_image(tmp_path: Path):
    """ComfyUI's `qwen_image_2512_fp8_e4m3fn`: the same names, linear layers in float8 without scales."""
    _, state = state_of(tiny.denoiser)
    stored = {key: value.to(torch.float8_e4m3fn) if value.ndim == 2 else value for key, value in state.items()}
    path = written(tmp_path / "qwen_image_2512_fp8_e4m3fn.safetensors", stored)
    family = family_of("qwen-image")
    loaded = family.load_denoiser(ModelFiles(dit=path), family.experts[0], **FP32).module
    assert_same_weights(loaded, {key: value.float() for key, value in stored.items()})
    assert not loaded.config.zero_cond_t


def test_edit_2511_file_is_told_by_its_marker(tmp_path: Path):
    _, state = state_of(tiny.denoiser)
    path = written(tmp_path / "qwen.safetensors", {**state, "__index_timestep_zero__": torch.zeros(1)})
    files = ModelFiles(dit=path)
    newest, older = (family_of("qwen-image-edit", task) for task in ("edit-2511", "edit-2509"))
    assert newest.load_denoiser(files, newest.experts[0], **FP32).module.config.zero_cond_t
    with pytest.raises(ModelError, match="2511"):
        older.load_denoiser(files, older.experts[0], **FP32)


def test_qwen_vae_in_wan_names_gives_the_same_latents(tmp_path: Path):
    source, state = state_of(tiny.vae)
    original = {wan21_vae(4, 1).to_original(key): value for key, value in state.items()}
    path = written(tmp_path / "vae.safetensors", original)
    encoder = family_of("qwen-image").load_latent_encoder(ModelFiles(vae=path), **FP32)
    pixels = torch.rand(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = (
        torch.tensor(values).view(1, 16, 1, 1, 1) for values in (source.config.latents_mean, source.config.latents_std)
    )
    torch.testing.assert_close(
        encoder.encode(pixels), (source.encode(pixels).latent_dist.mode() - mean) / std, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("old_names", [True, False])
@pytest.mark.parametrize("vision", [True, False])
def test_qwen_vl_loads_in_old_and_new_names_with_and_without_vision(tmp_path: Path, old_names: bool, vision: bool):
    _, state = state_of(qwen_vl.tiny)
    if old_names:
        stored = {
            key if key.startswith("visual.") else f"model.{key.removeprefix('language_model.')}": value
            for key, value in state.items()
        }
    else:
        stored = {f"model.{key}": value for key, value in state.items()}
    path = written(tmp_path / "vl.safetensors", {**stored, "lm_head.weight": torch.zeros(4, 4)})
    part = parts.TEXT_ENCODER if vision else parts.BLIND_TEXT_ENCODER
    model = part.load_file(path, **FP32)
    assert_same_weights(model, state)
    assert any(key.startswith("visual.") for key in model.state_dict()) == vision
    assert model.config.text_config.rms_norm_eps == 1e-6


@pytest.mark.parametrize("part", [parts.DENOISER, parts.VAE])
def test_full_size_models_are_rebuilt_from_their_shapes(part):
    assert_rebuilt_from_shapes(part.class_path.removeprefix("diffusers."), {}, part.config_of)


def test_qwen_vl_7b_is_rebuilt_from_its_shapes():
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    text = {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    }
    vision = {"hidden_size": 1280, "out_hidden_size": 3584, "intermediate_size": 3420, "depth": 32, "num_heads": 16}
    made = build_empty(lambda: Qwen2_5_VLModel(Qwen2_5_VLConfig(**qwen_vl.vl_config(text, vision))))
    read = qwen_vl.config_of(stored_shapes(made), Path("file"))
    assert read == qwen_vl.vl_config(text, vision)
    assert read["vision_config"]["fullatt_block_indexes"] == [7, 15, 23, 31]
