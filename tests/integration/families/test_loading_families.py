"""Single files of Qwen-Image and both HunyuanVideos, in every published layout, load into the real classes with the source's weights."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file as write_safetensors
from torch import Tensor

from blissmask.errors import ModelError
from blissmask.families import tiny
from blissmask.families.encoders.llama import load_llama, without_last_layers
from blissmask.families.encoders.qwen_vl import load_qwen_vl
from blissmask.families.encoders.t5 import load_byt5
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.hunyuan import denoiser as hunyuan_denoiser
from blissmask.families.hunyuan import names as hunyuan_keymaps
from blissmask.families.hunyuan import vae as hunyuan_vae
from blissmask.families.hunyuan.clip_text import load_clip_text
from blissmask.families.hunyuan15 import denoiser as hunyuan15_denoiser
from blissmask.families.hunyuan15.siglip import load_siglip
from blissmask.families.qwen import denoiser as qwen_denoiser
from blissmask.families.registry import load_architecture
from blissmask.families.wan import names as wan_keymaps
from blissmask.families.wan import vae as wan_vae

CPU = torch.device("cpu")
FP32 = torch.float32


def state_of(make):
    module = tiny.seeded(make, device=CPU, dtype=FP32, name="source")
    return module, {key: value.clone() for key, value in module.state_dict().items()}


def written(path: Path, state: dict[str, Tensor], prefix: str = "") -> Path:
    write_safetensors({prefix + key: value.contiguous() for key, value in state.items()}, path)
    return path


def assert_same_weights(module, state):
    loaded = module.state_dict()
    assert loaded
    for key in loaded:
        torch.testing.assert_close(loaded[key], state[key], rtol=0, atol=0)


def hunyuan_original(state: dict[str, Tensor], keymap) -> dict[str, Tensor]:
    """Write a HunyuanVideo denoiser as the original repositories do: fused layers, shift before scale at the end."""
    named = {keymap.to_original(key): value for key, value in state.items()}
    original: dict[str, Tensor] = {}
    for name, value in named.items():
        if ":" not in name:
            original[name] = torch.cat(value.chunk(2)[::-1]) if name.startswith("final_layer.adaLN") else value
            continue
        module, kind = name.partition(":")[0], name.rpartition(".")[2]
        parts = [
            named[f"{module}:{part}.{kind}"] for part in ("q", "k", "v", "mlp") if f"{module}:{part}.{kind}" in named
        ]
        original[f"{module}.{kind}"] = torch.cat(parts)
    return original


def in_comfyui_names(original: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the modules that ComfyUI calls otherwise, and fuse what 1.5 keeps apart."""
    fused: dict[str, Tensor] = {}
    for name, value in original.items():
        if found := re.match(r"(double_blocks\.\d+\.(?:img|txt)_attn)_([qkv])\.(weight|bias)$", name):
            fused[f"{found[1]}_qkv.{found[3]}"] = torch.cat(
                [original[f"{found[1]}_{part}.{found[3]}"] for part in "qkv"]
            )
        else:
            fused[name] = value
    renamed = {}
    for key, value in fused.items():
        name = re.sub(
            r"(img|txt)_attn_([qk])_norm\.weight",
            lambda m: f"{m[1]}_attn.norm.{'query' if m[2] == 'q' else 'key'}_norm.scale",
            key,
        )
        name = re.sub(
            r"(single_blocks\.\d+)\.([qk])_norm\.weight",
            lambda m: f"{m[1]}.norm.{'query' if m[2] == 'q' else 'key'}_norm.scale",
            name,
        )
        name = re.sub(r"(img|txt|self)_attn_(qkv|proj)\.", r"\1_attn.\2.", name)
        name = name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2")
        name = name.replace("_mod.linear.", "_mod.lin.").replace("modulation.linear.", "modulation.lin.")
        name = re.sub(r"^(time_in|guidance_in|txt_in\.t_embedder)\.mlp\.0\.", r"\1.in_layer.", name)
        name = re.sub(r"^(time_in|guidance_in|txt_in\.t_embedder)\.mlp\.2\.", r"\1.out_layer.", name)
        name = name.replace("txt_in.c_embedder.linear_1", "txt_in.c_embedder.in_layer")
        renamed[name.replace("txt_in.c_embedder.linear_2", "txt_in.c_embedder.out_layer")] = value
    return renamed


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_qwen_image_loads_with_and_without_prefix(tmp_path: Path, prefix: str):
    _, state = state_of(tiny.qwen_transformer)
    path = written(tmp_path / "qwen.safetensors", state, prefix)
    assert_same_weights(qwen_denoiser.load_denoiser(path, device=CPU, dtype=FP32), state)


def test_edit_2511_file_is_told_by_its_marker(tmp_path: Path):
    _, state = state_of(tiny.qwen_transformer)
    path = written(tmp_path / "qwen.safetensors", {**state, "__index_timestep_zero__": torch.zeros(1)})
    family = load_architecture("qwen-image-edit")
    load = partial(family.load_denoiser, ModelFiles(dit=path), expert="", device=CPU, dtype=FP32)
    assert load(task="edit-2511").module.config.zero_cond_t
    with pytest.raises(ModelError, match="2511"):
        load(task="edit-2509")


@pytest.mark.parametrize("layout", ["original", "comfyui", "diffusers"])
def test_hunyuan_video_loads_from_every_layout(tmp_path: Path, layout: str):
    _, state = state_of(tiny.hunyuan_transformer)
    original = hunyuan_original(state, hunyuan_keymaps.VIDEO)
    assert original["single_blocks.0.linear1.weight"].shape == (7 * 128, 128)
    stored = {"original": original, "comfyui": in_comfyui_names(original), "diffusers": state}[layout]
    path = written(tmp_path / "hunyuan.safetensors", stored)
    assert_same_weights(hunyuan_denoiser.load_denoiser(path, device=CPU, dtype=FP32), state)


@pytest.mark.parametrize("layout", ["original", "comfyui", "diffusers"])
def test_hunyuan_video_15_loads_from_every_layout(tmp_path: Path, layout: str):
    _, state = state_of(tiny.hunyuan15_transformer)
    original = hunyuan_original(state, hunyuan_keymaps.VIDEO_15)
    assert {
        "double_blocks.1.txt_attn_q.weight",
        "byt5_in.fc3.bias",
        "vision_in.proj.4.weight",
        "cond_type_embedding.weight",
    } <= original.keys()
    stored = {"original": original, "comfyui": in_comfyui_names(original), "diffusers": state}[layout]
    path = written(tmp_path / "hunyuan.safetensors", stored)
    assert_same_weights(hunyuan15_denoiser.load_denoiser(path, device=CPU, dtype=FP32), state)


@pytest.mark.parametrize("prefix", ["", "vae."])
@pytest.mark.parametrize("decoder", [False, True])
def test_hunyuan_video_vae_loads(tmp_path: Path, prefix: str, decoder: bool):
    _, state = state_of(tiny.hunyuan_vae)
    path = written(tmp_path / "vae.safetensors", state, prefix)
    load = partial(hunyuan_vae.load_vae, class_name="AutoencoderKLHunyuanVideo", decoder=decoder)
    assert_same_weights(load(path, device=CPU, dtype=FP32), state)


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_hunyuan_video_15_vae_loads_with_decoder(tmp_path: Path, layout: str):
    _, state = state_of(tiny.hunyuan15_vae)
    original = {hunyuan_keymaps.VAE_15.to_original(key): value for key, value in state.items()}
    assert {
        "encoder.down.0.block.0.conv1.conv.weight",
        "decoder.up.0.upsample.conv.conv.weight",
        "encoder.mid.attn_1.q.weight",
    } <= original.keys()
    path = written(tmp_path / "vae.safetensors", original if layout == "original" else state)
    load = partial(hunyuan_vae.load_vae, class_name="AutoencoderKLHunyuanVideo15", decoder=True)
    assert_same_weights(load(path, device=CPU, dtype=FP32), state)


def test_wan22_vae_of_the_original_repository_loads_with_decoder(tmp_path: Path):
    _, state = state_of(tiny.wan22_vae)
    original = {wan_keymaps.wan22_vae(4, 1).to_original(key): value for key, value in state.items()}
    assert {
        "encoder.downsamples.1.downsamples.1.time_conv.weight",
        "decoder.upsamples.0.upsamples.2.resample.1.weight",
    } <= original.keys()
    path = written(tmp_path / "vae.safetensors", original)
    vae = wan_vae.load_vae(path, device=CPU, dtype=FP32, decoder=True)
    assert_same_weights(vae, state)
    assert (vae.config.scale_factor_spatial, vae.config.patch_size) == (16, 2)
    assert len(vae.config.latents_mean) == len(vae.config.latents_std) == 48


def test_qwen_vae_in_wan_names_gives_the_same_latents(tmp_path: Path):
    source, state = state_of(tiny.qwen_vae)
    original = {wan_keymaps.wan21_vae(4, 1).to_original(key): value for key, value in state.items()}
    path = written(tmp_path / "vae.safetensors", original)
    family = load_architecture("qwen-image")
    encoder = family.load_latent_encoder(ModelFiles(vae=path), device=CPU, dtype=FP32)
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
    _, state = state_of(tiny.qwen_vl)
    if old_names:
        stored = {
            key if key.startswith("visual.") else f"model.{key.removeprefix('language_model.')}": value
            for key, value in state.items()
        }
    else:
        stored = {f"model.{key}": value for key, value in state.items()}
    path = written(tmp_path / "vl.safetensors", {**stored, "lm_head.weight": torch.zeros(4, 4)})
    model = load_qwen_vl(path, device=CPU, dtype=FP32, vision=vision)
    assert_same_weights(model, state)
    assert any(key.startswith("visual.") for key in model.state_dict()) == vision
    assert model.config.text_config.rms_norm_eps == 1e-6


@pytest.mark.parametrize("prefix", ["", "model.", "language_model.model."])
def test_llama_loads_under_every_prefix(tmp_path: Path, prefix: str):
    source, state = state_of(tiny.llama)
    path = written(
        tmp_path / "llama.safetensors",
        {**{prefix + key: value for key, value in state.items()}, "lm_head.weight": torch.zeros(2, 2)},
    )
    model = load_llama(path, device=CPU, dtype=FP32)
    assert_same_weights(model, state)
    ids = torch.tensor([[5, 9, 7]])
    expected = source(input_ids=ids, output_hidden_states=True).hidden_states[-3]
    torch.testing.assert_close(without_last_layers(model, 2)(input_ids=ids).last_hidden_state, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "load", "prefix"),
    [
        (tiny.clip_text, load_clip_text, "text_model."),
        (tiny.siglip, load_siglip, "vision_model."),
        (tiny.byt5, load_byt5, ""),
    ],
)
def test_second_encoders_load(tmp_path: Path, make, load, prefix: str):
    _, state = state_of(make)
    stored = {
        prefix + key.removeprefix(prefix): value for key, value in state.items() if key != "encoder.embed_tokens.weight"
    }
    assert_same_weights(load(written(tmp_path / "x.safetensors", stored), device=CPU, dtype=FP32), state)


@pytest.mark.parametrize("name", ["qwen-image", "hunyuan-video", "hunyuan-video-15", "wan21", "wan22-5b"])
def test_a_foreign_file_is_refused_by_every_part(tmp_path: Path, name: str):
    path = written(tmp_path / "foreign.safetensors", {"something.weight": torch.ones(2, 2)})
    files = ModelFiles(vae=path, text_encoder=path, text_encoder_2=path, dit=path, tokenizer=tmp_path)
    family = load_architecture(name)
    for load in (family.load_latent_encoder, partial(family.load_denoiser, expert="", task=family.tasks[0])):
        with pytest.raises(ModelError, match=r"foreign\.safetensors"):
            load(files, device=CPU, dtype=FP32)
    with pytest.raises(ModelError):
        family.load_text_encoder(files, device=CPU, dtype=FP32)
