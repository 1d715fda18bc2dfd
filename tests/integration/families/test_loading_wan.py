"""Wan files in every published layout load into the real classes and compute what the source computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file as write_safetensors
from torch import Tensor

from blissmask.errors import ModelError
from blissmask.families import tiny
from blissmask.families.encoders.t5 import load_umt5
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.stored_tensors import StoredTensor
from blissmask.families.registry import load_architecture
from blissmask.families.wan import denoiser as wan_denoiser
from blissmask.families.wan import names as wan_keymaps
from blissmask.families.wan import vae as wan_vae
from blissmask.families.wan.clip import clip_features, load_clip

CPU = torch.device("cpu")
FP32 = torch.float32


def state_of(make, name="source"):
    module = tiny.seeded(make, device=CPU, dtype=FP32, name=name)
    return module, {key: value.clone() for key, value in module.state_dict().items()}


def in_original_names(state: dict[str, Tensor], keymap) -> dict[str, Tensor]:
    return {keymap.to_original(key): value for key, value in state.items()}


def assert_same_weights(module, state):
    loaded = module.state_dict()
    for key in loaded:
        torch.testing.assert_close(loaded[key], state[key], rtol=0, atol=0)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_original_denoiser_loads_with_any_repackers_prefix(tmp_path: Path, prefix: str):
    _, state = state_of(tiny.wan_transformer)
    path = tmp_path / "wan.safetensors"
    write_safetensors({prefix + key: value for key, value in in_original_names(state, wan_keymaps.DIT).items()}, path)
    assert_same_weights(wan_denoiser.load_denoiser(path, device=CPU, dtype=FP32), state)


def test_diffusers_denoiser_loads_from_a_single_file(tmp_path: Path):
    _, state = state_of(tiny.wan_transformer)
    write_safetensors(state, tmp_path / "wan.safetensors")
    assert_same_weights(wan_denoiser.load_denoiser(tmp_path / "wan.safetensors", device=CPU, dtype=FP32), state)


def test_image_to_video_denoiser_is_told_by_its_shapes(tmp_path: Path):
    _, state = state_of(lambda: tiny.wan_transformer(in_channels=36, image_dim=80))
    write_safetensors(in_original_names(state, wan_keymaps.DIT), tmp_path / "wan.safetensors")
    module = wan_denoiser.load_denoiser(tmp_path / "wan.safetensors", device=CPU, dtype=FP32)
    assert (module.config.in_channels, module.config.image_dim) == (36, 80)
    assert_same_weights(module, state)


@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_pth_vae_of_the_original_repository_loads(tmp_path: Path, nest: str | None):
    _, state = state_of(tiny.wan_vae)
    original = in_original_names(state, wan_keymaps.wan21_vae(4, 1))
    assert "decoder.upsamples.2.resample.1.weight" in original
    torch.save({nest: original} if nest else original, tmp_path / "Wan2.1_VAE.pth")
    assert_same_weights(wan_vae.load_vae(tmp_path / "Wan2.1_VAE.pth", device=CPU, dtype=FP32), state)
    assert_same_weights(wan_vae.load_vae(tmp_path / "Wan2.1_VAE.pth", device=CPU, dtype=FP32, decoder=True), state)


def test_vae_without_decoder_never_reads_it(tmp_path: Path):
    _, state = state_of(tiny.wan_vae)
    write_safetensors(state, tmp_path / "vae.safetensors")
    vae = wan_vae.load_vae(tmp_path / "vae.safetensors", device=CPU, dtype=FP32)
    assert not [key for key in vae.state_dict() if key.startswith(("decoder", "post_quant"))]


def test_full_size_vae_configuration_is_read_from_shapes():
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKLWan

    with init_empty_weights():
        vae = AutoencoderKLWan()
    shapes = {key: StoredTensor(tuple(value.shape), Tensor) for key, value in vae.state_dict().items()}
    original = {wan_keymaps.wan21_vae(4, 2).to_original(key): value for key, value in shapes.items()}
    assert {
        "encoder.downsamples.5.resample.1.weight",
        "encoder.downsamples.6.residual.2.weight",
        "conv2.bias",
    } <= original.keys()
    config = wan_vae.config_of(wan_vae.in_diffusers_names(original), Path("vae"))
    expected = {
        "base_dim": 96,
        "z_dim": 16,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
    }
    assert config == expected
    assert wan_vae.in_diffusers_names(original).keys() == shapes.keys()


@pytest.mark.parametrize("layout", ["original", "comfyui"])
def test_umt5_loads_and_encodes_the_same(tmp_path: Path, layout: str):
    model, state = state_of(tiny.umt5)
    del state["encoder.embed_tokens.weight"]
    if layout == "original":
        state = in_original_names(state, wan_keymaps.UMT5)
        assert "blocks.1.ffn.gate.0.weight" in state
    write_safetensors(state, tmp_path / "umt5.safetensors")
    loaded = load_umt5(tmp_path / "umt5.safetensors", device=CPU, dtype=FP32)
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
    loaded = load_clip(tmp_path / "clip.pth", device=CPU, dtype=FP32)
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
        names = {
            "embeddings.class_embedding": "cls_embedding",
            "embeddings.patch_embedding.weight": "patch_embedding.weight",
            "embeddings.position_embedding.weight": "pos_embedding",
        }
        if key in names:
            original[f"visual.{names[key]}"] = value.reshape(1, -1, value.shape[-1]) if "patch" not in key else value
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
    _, state = state_of(tiny.wan_transformer)
    original = in_original_names(state, wan_keymaps.DIT)
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
    loaded = wan_denoiser.load_denoiser(tmp_path / "wan.safetensors", device=CPU, dtype=FP32).state_dict()
    for key, value in state.items():
        error = (loaded[key] - value).abs().max() / value.abs().max().clamp_min(1e-9)
        assert error < 0.04, key


def test_bfloat16_leaves_the_modules_that_diffusers_keeps_in_float32(tmp_path: Path):
    _, state = state_of(tiny.wan_transformer)
    write_safetensors(in_original_names(state, wan_keymaps.DIT), tmp_path / "wan.safetensors")
    module = wan_denoiser.load_denoiser(tmp_path / "wan.safetensors", device=CPU, dtype=torch.bfloat16)
    dtypes = {key: value.dtype for key, value in module.state_dict().items()}
    assert dtypes["blocks.0.attn1.to_q.weight"] == torch.bfloat16
    assert (
        dtypes["blocks.0.scale_shift_table"]
        == dtypes["condition_embedder.time_embedder.linear_1.weight"]
        == torch.float32
    )


def test_missing_and_unexpected_keys_are_named(tmp_path: Path):
    _, state = state_of(tiny.wan_transformer)
    del state["blocks.1.attn1.to_q.weight"]
    write_safetensors({**state, "stray.weight": torch.zeros(2)}, tmp_path / "wan.safetensors")
    with pytest.raises(ModelError) as caught:
        wan_denoiser.load_denoiser(tmp_path / "wan.safetensors", device=CPU, dtype=FP32)
    assert "missing: blocks.1.attn1.to_q.weight" in caught.value.problems[0].where
    assert "unexpected: stray.weight" in caught.value.problems[0].where


def test_a_vae_given_as_denoiser_is_refused_by_name(tmp_path: Path):
    _, state = state_of(tiny.wan_vae)
    write_safetensors(state, tmp_path / "vae.safetensors")
    with pytest.raises(ModelError, match="is no Wan denoiser"):
        wan_denoiser.load_denoiser(tmp_path / "vae.safetensors", device=CPU, dtype=FP32)


def test_every_lora_module_has_one_original_name_and_back():
    module, _ = state_of(lambda: tiny.wan_transformer(in_channels=36, image_dim=80))
    names = [name for name, _ in module.named_modules() if name]
    originals = [wan_keymaps.DIT.to_original(name) for name in names]
    assert [wan_keymaps.DIT.to_diffusers(name) for name in originals] == names
    assert "blocks.1.cross_attn.k_img" in originals
    assert "blocks.0.ffn.0" in originals


def test_single_files_and_diffusers_folder_give_the_same_prediction(tmp_path: Path):
    family = load_architecture("wan22")
    module, state = state_of(tiny.wan_transformer)
    module.save_pretrained(tmp_path / "model" / "transformer_2")
    write_safetensors(in_original_names(state, wan_keymaps.DIT), tmp_path / "low.safetensors")
    from_folder = ModelFiles(model=str(tmp_path / "model"))
    from_file = ModelFiles(dit=tmp_path / "low.safetensors")
    loaded = [
        family.load_denoiser(files, expert="low", task="t2v", device=CPU, dtype=FP32)
        for files in (from_folder, from_file)
    ]
    assert_same_weights(loaded[0].module, loaded[1].module.state_dict())
    assert loaded[0].identity != loaded[1].identity
