"""Single files of HunyuanVideo 1.5 in every published layout load with the weights of the source."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError
from blissmask.families.encoders import qwen_vl, siglip, t5
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.hunyuan15 import names, parts
from blissmask.families.vae import hunyuan
from tests.builders.single_files import (
    FP32,
    assert_rebuilt_from_shapes,
    assert_same_weights,
    assert_transformer_rebuilt_from_shapes,
    state_of,
    written,
)
from tests.integration.families.hunyuan.layouts import in_comfyui_layout, in_original_layout

BYT5_SMALL = {"vocab_size": 1510, "d_model": 1472, "d_kv": 64, "d_ff": 3584, "num_layers": 12, "num_heads": 6}
SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}


@pytest.mark.parametrize("layout", ["original", "comfyui", "diffusers"])
def test_hunyuan_video_15_loads_from_every_layout(tmp_path: Path, layout: str):
    _, state = state_of(parts.DENOISER.tiny)
    original = in_original_layout(state, names.DENOISER, apart="(?:img|txt)_attn")
    assert {
        "double_blocks.1.txt_attn_q.weight",
        "byt5_in.fc3.bias",
        "vision_in.proj.4.weight",
        "cond_type_embedding.weight",
    } <= original.keys()
    stored = {"original": original, "comfyui": in_comfyui_layout(original), "diffusers": state}[layout]
    path = written(tmp_path / "hunyuan.safetensors", stored)
    assert_same_weights(parts.DENOISER.load_file(path, **FP32), state)


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_hunyuan_video_15_vae_loads_with_decoder(tmp_path: Path, layout: str):
    _, state = state_of(hunyuan.tiny_15)
    original = {hunyuan.NAMES_15.to_original(key): value for key, value in state.items()}
    assert {
        "encoder.down.0.block.0.conv1.conv.weight",
        "decoder.up.0.upsample.conv.conv.weight",
        "encoder.mid.attn_1.q.weight",
    } <= original.keys()
    path = written(tmp_path / "vae.safetensors", original if layout == "original" else state)
    assert_same_weights(hunyuan.VAE_15.load_file(path, **FP32), state)


def test_a_vae_that_comfyui_saved_again_loads_without_its_unused_time_embeddings(tmp_path: Path):
    _, state = state_of(hunyuan.tiny_15)
    stored = {hunyuan.NAMES_15.to_original(key): value for key, value in state.items()}
    for block in ("encoder.mid.block_1", "encoder.mid.block_2", "decoder.mid.block_1", "decoder.mid.block_2"):
        stored |= {f"{block}.temb_proj.weight": torch.ones(64, 512), f"{block}.temb_proj.bias": torch.ones(64)}
    path = written(tmp_path / "vae.safetensors", stored, "model.")
    assert_same_weights(hunyuan.VAE_15.load_file(path, **FP32), state)


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_denoiser_that_is_distilled_to_few_steps_is_refused_in_the_plan(tmp_path: Path, as_folder: bool):
    _, state = state_of(parts.DENOISER.tiny)
    if as_folder:
        (tmp_path / "transformer").mkdir()
        (tmp_path / "transformer" / "config.json").write_text('{"use_meanflow": true}', encoding="utf-8")
        files = ModelFiles(model=str(tmp_path))
    else:
        more = {"time_embed.timestep_embedder_r.linear_1.weight": torch.ones(128, 256)}
        files = ModelFiles(dit=written(tmp_path / "distilled.safetensors", {**state, **more}))
    with pytest.raises(ModelError, match="distilled to few steps"):
        parts.DENOISER.check(files)
    with pytest.raises(ModelError, match="distilled to few steps"):
        parts.DENOISER.load(files, **FP32)


def test_siglip_loads(tmp_path: Path):
    _, state = state_of(parts.SIGLIP.tiny)
    stored = {f"vision_model.{key}": value for key, value in state.items()}
    path = written(tmp_path / "siglip.safetensors", stored)
    assert_same_weights(parts.SIGLIP.load_file(path, **FP32), state)


def test_byt5_loads(tmp_path: Path):
    _, state = state_of(parts.BYT5.tiny)
    stored = {key: value for key, value in state.items() if key != "encoder.embed_tokens.weight"}
    path = written(tmp_path / "byt5.safetensors", stored)
    assert_same_weights(parts.BYT5.load_file(path, **FP32), state)


@pytest.mark.parametrize("prefix", ["model.", "model.language_model."])
def test_the_language_half_loads_from_a_file_of_qwen_vl(tmp_path: Path, prefix: str):
    source, _ = state_of(qwen_vl.tiny)
    stored = {f"model.{key}": value for key, value in source.state_dict().items() if key.startswith("visual.")}
    language = source.language_model.state_dict()
    stored |= {prefix + key: value for key, value in language.items()}
    path = written(tmp_path / "qwen.safetensors", {**stored, "lm_head.weight": torch.zeros(4, 4)})
    model = parts.QWEN.load_file(path, **FP32)
    assert_same_weights(model, language)
    assert model.config.rms_norm_eps == 1e-6


@pytest.mark.parametrize("part", [parts.DENOISER, hunyuan.VAE_15])
def test_full_size_models_are_rebuilt_from_their_shapes(part):
    assert_rebuilt_from_shapes(part.class_path.removeprefix("diffusers."), {}, part.config_of)


def test_full_size_encoders_are_read_from_their_shapes():
    gated = {"is_encoder_decoder": False, "feed_forward_proj": "gated-gelu"}
    assert_transformer_rebuilt_from_shapes("T5EncoderModel", {**BYT5_SMALL, **gated}, t5.config_of)
    pixels = {"image_size": 384, "patch_size": 14}
    assert_transformer_rebuilt_from_shapes("SiglipVisionModel", {**SO400M, **pixels}, siglip.config_of)
