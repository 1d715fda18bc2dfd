"""Model folders in diffusers layout give the same results as the models they were saved from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError, UsageError
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.protocol import Batch
from blissmask.families.registry import load_architecture
from tests.builders.tiny_pipelines import tiny_pipeline

CPU = torch.device("cpu")
FP32 = torch.float32
TINY = ModelFiles(model="tiny")


@pytest.mark.parametrize("name", ["wan21", "wan22", "wan22-5b", "qwen-image", "hunyuan-video", "hunyuan-video-15"])
def test_saved_pipeline_is_a_model_folder_of_the_same_weights(tmp_path: Path, name: str):
    tiny_pipeline(name).save_pretrained(tmp_path)
    family = load_architecture(name)
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
    for expert in family.experts(""):
        velocities = []
        for files in (TINY, folder):
            denoiser = family.load_denoiser(files, expert=expert.name, task=family.tasks[0], device=CPU, dtype=FP32)
            with torch.no_grad():
                velocities.append(
                    denoiser.predict(
                        Batch(latents[0], torch.tensor([0.5]), {key: [row] for key, row in texts[0].items()})
                    )
                )
        torch.testing.assert_close(velocities[0], velocities[1], rtol=1e-5, atol=1e-5)
    assert family.latent_encoder_identity(folder) != family.latent_encoder_identity(TINY)
    assert family.latent_encoder_identity(folder) == family.latent_encoder_identity(ModelFiles(vae=tmp_path / "vae"))


@pytest.mark.parametrize("name", ["wan22", "qwen-image", "hunyuan-video"])
def test_tiny_pipeline_runs(name: str):
    pipeline = tiny_pipeline(name)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        prompt="a cat",
        height=32,
        width=32,
        num_inference_steps=2,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
    )
    assert torch.isfinite(made[0] if isinstance(made, tuple) else next(iter(made.values()))).all()


def test_damaged_folder_is_named(tmp_path: Path):
    tiny_pipeline("wan21").transformer.save_pretrained(tmp_path / "transformer")
    weights = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    family = load_architecture("wan21")
    with pytest.raises(ModelError) as caught:
        family.load_denoiser(ModelFiles(model=str(tmp_path)), expert="", task="t2v", device=CPU, dtype=FP32)
    assert str(tmp_path / "transformer") in caught.value.problems[0].where


def test_weights_that_a_folder_lacks_are_not_made_up(tmp_path: Path):
    from safetensors.torch import load_file
    from safetensors.torch import save_file as write_safetensors

    tiny_pipeline("wan21").transformer.save_pretrained(tmp_path / "transformer")
    weights = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    del state["blocks.0.attn1.to_q.weight"]
    write_safetensors(state, weights)
    with pytest.raises(ModelError):
        load_architecture("wan21").load_denoiser(
            ModelFiles(model=str(tmp_path)), expert="", task="t2v", device=CPU, dtype=FP32
        )


def test_folder_in_another_layout_is_refused(tmp_path: Path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "vae.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"config\.json"):
        load_architecture("wan21").load_latent_encoder(ModelFiles(model=str(tmp_path)), device=CPU, dtype=FP32)


def test_unknown_task_names_those_there_are():
    with pytest.raises(UsageError, match="no task `v2v`"):
        load_architecture("wan22").experts("v2v")
