"""Single files of FLUX.2 in every published layout load into the real classes with the weights of the source."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from transformers import Mistral3Config, Mistral3Model

from blissmask.errors import ModelError
from blissmask.families.encoders import mistral
from blissmask.families.files.loading import build_empty
from blissmask.families.flux2 import parts
from blissmask.families.vae import kl_flux2
from tests.builders.single_files import FP32, assert_same_weights, state_of, stored_shapes, written
from tests.integration.families.flux2.layouts import (
    DEPTHS,
    in_original_layout,
    published_tensors,
    vae_in_ldm_names,
)

DENOISERS = {name: parts.denoiser(name, guided=name == "flux2-dev") for name in parts.TEXT_WIDTHS}


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("layout", ["original", "comfyui", "diffusers"])
def test_the_denoiser_loads_from_every_layout(tmp_path: Path, name: str, layout: str):
    part = DENOISERS[name]
    _, state = state_of(part.tiny)
    stored = state if layout == "diffusers" else in_original_layout(state)
    path = written(tmp_path / "flux2.safetensors", stored, "model.diffusion_model." if layout == "comfyui" else "")
    assert_same_weights(part.load_file(path, **FP32), state)


@pytest.mark.parametrize("name", DENOISERS)
def test_every_tensor_of_the_published_file_is_taken_and_none_is_missing(name: str):
    """From the header alone, at full size."""
    part = DENOISERS[name]
    tensors = part.rename(published_tensors(name))
    config = part.config_of(tensors, Path("flux2.safetensors"))
    module = build_empty(lambda: Flux2Transformer2DModel(**config))
    assert {key: stored.shape for key, stored in tensors.items()} == {
        key: tuple(value.shape) for key, value in module.state_dict().items()
    }
    width, double, single, text, guided = DEPTHS[name]
    assert (config["num_layers"], config["num_single_layers"]) == (double, single)
    assert dict(part.published_shapes()) == {name: tensor.shape for name, tensor in tensors.items()}
    assert (config["joint_attention_dim"], config["guidance_embeds"]) == (text, guided)
    assert config["num_attention_heads"] * config["attention_head_dim"] == width
    assert tuple(module.config.axes_dims_rope) == (32, 32, 32, 32)
    assert module.config.mlp_ratio == 3.0


@pytest.mark.parametrize(("name", "other"), [("flux2-klein-4b", "flux2-klein-9b"), ("flux2-dev", "flux2-klein-4b")])
def test_the_file_of_another_flux2_is_refused_by_its_name(name: str, other: str):
    part = DENOISERS[name]
    with pytest.raises(ModelError, match=f"is the denoiser of `{other}`"):
        part.config_of(part.rename(published_tensors(other)), Path("flux2.safetensors"))


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
def test_the_vae_loads_with_its_statistics(tmp_path: Path, layout: str, counts: bool):
    _, state = state_of(kl_flux2.VAE.tiny)
    stored = vae_in_ldm_names(state) if layout == "ldm" else dict(state)
    if not counts:
        del stored["bn.num_batches_tracked"]
    path = written(tmp_path / "flux2-vae.safetensors", stored)
    assert_same_weights(kl_flux2.VAE.load_file(path, **FP32), state)
    encoder = kl_flux2.VAE_ENCODER.load_file(path, **FP32)
    assert "bn.running_mean" in encoder.state_dict()
    assert_same_weights(encoder, state)


def test_a_vae_without_statistics_is_refused(tmp_path: Path):
    _, state = state_of(kl_flux2.VAE.tiny)
    stored = {key: value for key, value in vae_in_ldm_names(state).items() if not key.startswith("bn.")}
    with pytest.raises(ModelError, match=r"is no FLUX\.2 VAE"):
        kl_flux2.VAE.load_file(written(tmp_path / "ae.safetensors", stored), **FP32)


def test_the_full_size_vae_is_rebuilt_from_its_shapes():
    made = build_empty(AutoencoderKLFlux2)
    again = build_empty(lambda: AutoencoderKLFlux2(**kl_flux2.config_of(stored_shapes(made), Path("file"))))
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in made.state_dict().items()
    }


@pytest.mark.parametrize("prefix", ["model.", "language_model.model.", "model.language_model."])
def test_mistral_loads_from_every_layout(tmp_path: Path, prefix: str):
    _, state = state_of(parts.MISTRAL.tiny)
    language = {key.removeprefix("language_model."): value for key, value in state.items() if "language_model." in key}
    stored = {prefix + key: value for key, value in language.items()}
    # ComfyUI's file holds its tokenizer, those of transformers the head and the vision half.
    stored["tekken_model"] = torch.zeros(4, dtype=torch.uint8)
    stored["lm_head.weight" if prefix == "model." else "language_model.lm_head.weight"] = torch.zeros(2, 2)
    stored["vision_tower.ln_pre.weight"] = torch.zeros(64)
    model = parts.MISTRAL.load_file(written(tmp_path / "mistral.safetensors", stored), **FP32)
    assert_same_weights(model.language_model, language)


def test_the_full_size_mistral_is_read_from_its_shapes():
    # Sizes of Mistral-Small-3.1-24B.
    text = {
        "model_type": "mistral",
        "vocab_size": 131072,
        "hidden_size": 5120,
        "intermediate_size": 32768,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    made = build_empty(lambda: Mistral3Model(Mistral3Config(text_config={**text, **mistral.CONSTANTS})))
    read = mistral.config_of(stored_shapes(made), Path("file"))["text_config"]
    assert {key: read[key] for key in text} == text
