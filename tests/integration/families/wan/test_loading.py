"""Wan files in every published layout load into the real classes and compute what the source computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file as write_safetensors
from torch import Tensor

from blissmask.errors import ModelError
from blissmask.families.encoders import t5
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.wan import names, parts, tiny
from blissmask.families.wan.image_to_video import clip_features
from blissmask.families.wan.vae_sizes import vae_config
from tests.builders.families import CPU, family_of
from tests.builders.single_files import (
    FP32,
    assert_rebuilt_from_shapes,
    assert_same_weights,
    assert_transformer_rebuilt_from_shapes,
    in_original_names,
    state_of,
    stored_shapes,
    written,
)

DENOISER = parts.text_denoiser("wan21-t2v")
WAN_14B = {"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824, "num_layers": 40, "text_dim": 4096}
WAN_5B = {"num_attention_heads": 24, "attention_head_dim": 128, "ffn_dim": 14336, "num_layers": 30, "text_dim": 4096}
SEES_CLIP = {"image_dim": 1280, "added_kv_proj_dim": 5120}
UMT5_XXL = {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
VIT_H = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_original_denoiser_loads_with_any_repackers_prefix(tmp_path: Path, prefix: str):
    _, state = state_of(tiny.denoiser)
    path = tmp_path / "wan.safetensors"
    write_safetensors({prefix + key: value for key, value in in_original_names(state, names.DENOISER).items()}, path)
    assert_same_weights(DENOISER.load_file(path, **FP32), state)


def test_diffusers_denoiser_loads_from_a_single_file(tmp_path: Path):
    _, state = state_of(tiny.denoiser)
    write_safetensors(state, tmp_path / "wan.safetensors")
    assert_same_weights(DENOISER.load_file(tmp_path / "wan.safetensors", **FP32), state)


def test_image_to_video_denoiser_is_told_by_its_shapes(tmp_path: Path):
    _, state = state_of(lambda: tiny.denoiser(in_channels=36, image_dim=80))
    write_safetensors(in_original_names(state, names.DENOISER), tmp_path / "wan.safetensors")
    module = DENOISER.load_file(tmp_path / "wan.safetensors", **FP32)
    assert (module.config.in_channels, module.config.image_dim) == (36, 80)
    assert_same_weights(module, state)


@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_pth_vae_of_the_original_repository_loads(tmp_path: Path, nest: str | None):
    _, state = state_of(tiny.vae)
    original = in_original_names(state, names.wan21_vae(4, 1))
    assert "decoder.upsamples.2.resample.1.weight" in original
    torch.save({nest: original} if nest else original, tmp_path / "Wan2.1_VAE.pth")
    assert_same_weights(parts.VAE_ENCODER.load_file(tmp_path / "Wan2.1_VAE.pth", **FP32), state)
    assert_same_weights(parts.VAE.load_file(tmp_path / "Wan2.1_VAE.pth", **FP32), state)


def test_a_pth_of_another_model_is_told_in_the_plan(tmp_path: Path):
    _, state = state_of(tiny.vae)
    torch.save(in_original_names(state, names.wan21_vae(4, 1)), tmp_path / "vae.pth")
    parts.VAE.check(ModelFiles(vae=tmp_path / "vae.pth"))
    with pytest.raises(ModelError, match=r"vae\.pth is no ") as caught:
        DENOISER.check(ModelFiles(**{DENOISER.field: tmp_path / "vae.pth"}))
    assert caught.value.problems[0].where == (str(tmp_path / "vae.pth"),)


def test_vae_without_decoder_never_reads_it(tmp_path: Path):
    _, state = state_of(tiny.vae)
    write_safetensors(state, tmp_path / "vae.safetensors")
    vae = parts.VAE_ENCODER.load_file(tmp_path / "vae.safetensors", **FP32)
    assert not [key for key in vae.state_dict() if key.startswith(("decoder", "post_quant"))]


def test_full_size_vae_configuration_is_read_from_shapes():
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKLWan

    with init_empty_weights():
        vae = AutoencoderKLWan()
    shapes = stored_shapes(vae)
    original = {names.wan21_vae(4, 2).to_original(key): value for key, value in shapes.items()}
    assert {
        "encoder.downsamples.5.resample.1.weight",
        "encoder.downsamples.6.residual.2.weight",
        "conv2.bias",
    } <= original.keys()
    config = vae_config(names.rename_vae(original), Path("vae"))
    expected = {
        "base_dim": 96,
        "z_dim": 16,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
    }
    assert config == expected
    assert names.rename_vae(original).keys() == shapes.keys()


@pytest.mark.parametrize("layout", ["original", "comfyui"])
def test_umt5_loads_and_encodes_the_same(tmp_path: Path, layout: str):
    model, state = state_of(parts.UMT5.tiny)
    del state["encoder.embed_tokens.weight"]
    if layout == "original":
        state = in_original_names(state, t5.UMT5)
        assert "blocks.1.ffn.gate.0.weight" in state
    write_safetensors(state, tmp_path / "umt5.safetensors")
    loaded = parts.UMT5.load_file(tmp_path / "umt5.safetensors", **FP32)
    ids = torch.tensor([[5, 6, 7, 1]])
    torch.testing.assert_close(
        loaded(input_ids=ids).last_hidden_state, model(input_ids=ids).last_hidden_state, rtol=0, atol=0
    )
    assert loaded.shared.weight.data_ptr() == loaded.encoder.embed_tokens.weight.data_ptr()


def test_clip_of_the_original_repository_gives_the_same_features(tmp_path: Path):
    model, state = state_of(tiny.clip)
    state = {key.removeprefix("vision_model."): value for key, value in state.items()}
    pictures = torch.linspace(-1, 1, 3 * 20 * 24).reshape(1, 3, 20, 24)
    torch.save(original_clip(state), tmp_path / "clip.pth")
    loaded = parts.CLIP.load_file(tmp_path / "clip.pth", **FP32)
    torch.testing.assert_close(clip_features(loaded, pictures), clip_features(model, pictures), rtol=0, atol=0)


def original_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write a CLIP image encoder as the Wan 2.1 repository stores it."""
    original = {
        "visual.head": torch.zeros(80, 16),
        "textual.token_embedding.weight": torch.zeros(3, 4),
        "log_scale": torch.zeros(()),
    }
    for key, value in state.items():
        block = key.removeprefix("encoder.layers.").partition(".")[0]
        embeddings = {
            "embeddings.class_embedding": "cls_embedding",
            "embeddings.patch_embedding.weight": "patch_embedding.weight",
            "embeddings.position_embedding.weight": "pos_embedding",
        }
        if key in embeddings:
            original[f"visual.{embeddings[key]}"] = (
                value.reshape(1, -1, value.shape[-1]) if "patch" not in key else value
            )
            continue
        name = (
            key.replace("encoder.layers.", "transformer.")
            .replace("pre_layrnorm", "pre_norm")
            .replace("post_layernorm", "post_norm")
        )
        name = name.replace("layer_norm", "norm").replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2")
        name = name.replace("self_attn.out_proj", "attn.proj")
        if "_proj" in name:
            kind = key.rpartition(".")[2]
            fused = [state[f"encoder.layers.{block}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            original[f"visual.transformer.{block}.attn.to_qkv.{kind}"] = torch.cat(fused)
        else:
            original[f"visual.{name}"] = value
    return original


def fp8_scaled(weight: Tensor, blocks: int = 1) -> tuple[Tensor, Tensor]:
    parts = weight.reshape(len(weight), blocks, -1) if blocks > 1 else weight
    scale = parts.abs().amax(dim=-1, keepdim=True) / 448 if blocks > 1 else weight.abs().max() / 448
    return (parts / scale).reshape(weight.shape).to(torch.float8_e4m3fn), scale


@pytest.mark.parametrize(("scale_name", "blocks"), [("scale_weight", 1), ("weight_scale", 1), ("scale_weight", 2)])
def test_fp8_scaled_denoiser_differs_by_fp8_rounding_only(tmp_path: Path, scale_name: str, blocks: int):
    _, state = state_of(tiny.denoiser)
    original = in_original_names(state, names.DENOISER)
    stored = {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}
    for key, value in original.items():
        if value.ndim == 2 and key.startswith("blocks."):
            stored[key], stored[key.removesuffix("weight") + scale_name] = fp8_scaled(value, blocks)
            stored[key.removesuffix("weight") + "scale_input"] = torch.ones(())
        else:
            stored[key] = value
    write_safetensors(
        {f"model.diffusion_model.{key}": value for key, value in stored.items()}, tmp_path / "wan.safetensors"
    )
    loaded = DENOISER.load_file(tmp_path / "wan.safetensors", **FP32).state_dict()
    for key, value in state.items():
        error = (loaded[key] - value).abs().max() / value.abs().max().clamp_min(1e-9)
        assert error < 0.04, key


def test_bfloat16_leaves_the_modules_that_diffusers_keeps_in_float32(tmp_path: Path):
    _, state = state_of(tiny.denoiser)
    write_safetensors(in_original_names(state, names.DENOISER), tmp_path / "wan.safetensors")
    module = DENOISER.load_file(tmp_path / "wan.safetensors", device=CPU, dtype=torch.bfloat16)
    dtypes = {key: value.dtype for key, value in module.state_dict().items()}
    assert dtypes["blocks.0.attn1.to_q.weight"] == torch.bfloat16
    assert (
        dtypes["blocks.0.scale_shift_table"]
        == dtypes["condition_embedder.time_embedder.linear_1.weight"]
        == torch.float32
    )


def test_missing_and_unexpected_keys_are_named(tmp_path: Path):
    _, state = state_of(tiny.denoiser)
    del state["blocks.1.attn1.to_q.weight"]
    write_safetensors({**state, "stray.weight": torch.zeros(2)}, tmp_path / "wan.safetensors")
    with pytest.raises(ModelError) as caught:
        DENOISER.load_file(tmp_path / "wan.safetensors", **FP32)
    assert "missing: blocks.1.attn1.to_q.weight" in caught.value.problems[0].where
    assert "unexpected: stray.weight" in caught.value.problems[0].where


def test_a_vae_given_as_denoiser_is_refused_by_name(tmp_path: Path):
    _, state = state_of(tiny.vae)
    write_safetensors(state, tmp_path / "vae.safetensors")
    with pytest.raises(ModelError, match="is no Wan denoiser"):
        DENOISER.load_file(tmp_path / "vae.safetensors", **FP32)


def test_every_lora_module_has_one_original_name_and_back():
    module, _ = state_of(lambda: tiny.denoiser(in_channels=36, image_dim=80))
    modules = [name for name, _ in module.named_modules() if name]
    originals = [names.DENOISER.to_original(name) for name in modules]
    assert [names.DENOISER.to_diffusers(name) for name in originals] == modules
    assert "blocks.1.cross_attn.k_img" in originals
    assert "blocks.0.ffn.0" in originals


def test_single_files_and_diffusers_folder_give_the_same_prediction(tmp_path: Path):
    family = family_of("wan22", "t2v")
    module, state = state_of(tiny.denoiser)
    module.save_pretrained(tmp_path / "model" / "transformer_2")
    write_safetensors(in_original_names(state, names.DENOISER), tmp_path / "low.safetensors")
    from_folder = ModelFiles(model=str(tmp_path / "model"))
    from_file = ModelFiles(dit=tmp_path / "low.safetensors")
    low = family.experts[1]
    folder, file = (family.load_denoiser(files, low, **FP32) for files in (from_folder, from_file))
    assert_same_weights(folder.module, file.module.state_dict())
    assert folder.identity != file.identity


def test_wan22_vae_of_the_original_repository_loads_with_decoder(tmp_path: Path):
    _, state = state_of(tiny.vae_5b)
    original = {names.wan22_vae(4, 1).to_original(key): value for key, value in state.items()}
    assert {
        "encoder.downsamples.1.downsamples.1.time_conv.weight",
        "decoder.upsamples.0.upsamples.2.resample.1.weight",
    } <= original.keys()
    path = written(tmp_path / "vae.safetensors", original)
    vae = parts.VAE.load_file(path, **FP32)
    assert_same_weights(vae, state)
    assert (vae.config.scale_factor_spatial, vae.config.patch_size) == (16, 2)
    assert len(vae.config.latents_mean) == len(vae.config.latents_std) == 48


@pytest.mark.parametrize(
    ("class_name", "sizes", "config_of"),
    [
        ("WanTransformer3DModel", {**WAN_14B, "in_channels": 16}, parts.denoiser_config),
        ("WanTransformer3DModel", {**WAN_14B, "in_channels": 36, **SEES_CLIP}, parts.denoiser_config),
        ("WanTransformer3DModel", {**WAN_5B, "in_channels": 48, "out_channels": 48}, parts.denoiser_config),
        ("AutoencoderKLWan", {}, vae_config),
    ],
)
def test_full_size_models_are_rebuilt_from_their_shapes(class_name: str, sizes: dict, config_of):
    assert_rebuilt_from_shapes(class_name, sizes, config_of)


def test_full_size_umt5_is_read_from_its_shapes():
    assert_transformer_rebuilt_from_shapes("UMT5EncoderModel", {**UMT5_XXL, "is_encoder_decoder": False}, t5.config_of)


def test_full_size_clip_is_read_from_its_shapes():
    pixels = {"image_size": 224, "patch_size": 14, "hidden_act": "gelu"}
    assert_transformer_rebuilt_from_shapes("CLIPVisionModel", {**VIT_H, **pixels}, parts.clip_config)
