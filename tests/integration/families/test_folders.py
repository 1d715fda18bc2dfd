"""Model folders in diffusers layout give the same results as the models they were saved from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from blissmask.errors import ModelError, UsageError
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.protocol import Batch
from tests.builders.families import CPU, NAMES, TINY, family_of
from tests.builders.tiny_pipelines import PIPELINES, tiny_pipeline

FP32 = torch.float32
ANY = PIPELINES[0]


@pytest.mark.parametrize("name", PIPELINES)
def test_saved_pipeline_is_a_model_folder_of_the_same_weights(tmp_path: Path, name: str):
    tiny_pipeline(name).save_pretrained(tmp_path)
    family = family_of(name)
    folder = ModelFiles(model=str(tmp_path))
    side = family.latent.grid_multiple
    pixels = torch.rand(1, 3, 1, side, 2 * side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents, texts = [], []
    for files in (TINY, folder):
        latents.append(family.load_latent_encoder(files, device=CPU, dtype=FP32).encode(pixels))
        texts.append(family.load_text_encoder(files, device=CPU, dtype=FP32).encode(['a "red" cat'])[0].tensors)
    torch.testing.assert_close(latents[0], latents[1], rtol=0, atol=0)
    assert texts[0].keys() == texts[1].keys()
    for key in texts[0]:
        torch.testing.assert_close(texts[0][key], texts[1][key], rtol=1e-5, atol=1e-5)
    for expert in family.experts:
        velocities = []
        for files in (TINY, folder):
            denoiser = family.load_denoiser(files, expert, device=CPU, dtype=FP32)
            with torch.no_grad():
                velocities.append(
                    denoiser.predict(
                        Batch(latents[0], torch.tensor([0.5]), {key: [row] for key, row in texts[0].items()})
                    )
                )
        torch.testing.assert_close(velocities[0], velocities[1], rtol=1e-5, atol=1e-5)
    assert family.latent_identity(folder) != family.latent_identity(TINY)
    assert family.latent_identity(folder) == family.latent_identity(ModelFiles(vae=tmp_path / "vae"))


def test_damaged_folder_is_named(tmp_path: Path):
    tiny_pipeline(ANY).transformer.save_pretrained(tmp_path / "transformer")
    weights = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    family = family_of(ANY)
    with pytest.raises(ModelError) as caught:
        family.load_denoiser(ModelFiles(model=str(tmp_path)), family.experts[0], device=CPU, dtype=FP32)
    assert str(tmp_path / "transformer") in caught.value.problems[0].where


def test_weights_that_a_folder_lacks_are_not_made_up(tmp_path: Path):
    tiny_pipeline(ANY).transformer.save_pretrained(tmp_path / "transformer")
    weights = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    del state[min(state)]
    save_file(state, weights)
    family = family_of(ANY)
    with pytest.raises(ModelError):
        family.load_denoiser(ModelFiles(model=str(tmp_path)), family.experts[0], device=CPU, dtype=FP32)


def test_folder_in_another_layout_is_refused(tmp_path: Path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "vae.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"config\.json"):
        family_of(ANY).load_latent_encoder(ModelFiles(model=str(tmp_path)), device=CPU, dtype=FP32)


def test_unknown_task_names_those_there_are():
    with pytest.raises(UsageError, match="no task `v2v`"):
        family_of(ANY, "v2v")


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_file_is_refused_by_every_part(tmp_path: Path, name: str):
    path = tmp_path / "foreign.safetensors"
    save_file({"something.weight": torch.ones(2, 2)}, path)
    fields = ("vae", "text_encoder", "text_encoder_2", "image_encoder", "dit", "dit_high_noise")
    files = ModelFiles(**dict.fromkeys(fields, path), tokenizer=tmp_path)
    family = family_of(name)
    with pytest.raises(ModelError, match=r"foreign\.safetensors"):
        family.load_latent_encoder(files, device=CPU, dtype=FP32)
    for expert in family.experts:
        with pytest.raises(ModelError, match=r"foreign\.safetensors"):
            family.load_denoiser(files, expert, device=CPU, dtype=FP32)
    with pytest.raises(ModelError):
        family.load_text_encoder(files, device=CPU, dtype=FP32)
