"""FLUX.2 trained: masks at 8 pixels in the cache, caches of musubi-tuner, and a fixed batch that is learnt."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import read_tensors
from blissmask.cachefile.read_headers import list_headers
from blissmask.events import Measured
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.cache import build, captions
from tests.builders.families import family_of
from tests.builders.pictures import photo_folder, save
from tests.builders.recorder import Recorder
from tests.builders.training import seeded, train_config

NAME = "flux2-klein-4b"
SIZE_WH = (96, 64)


def cached(folder, mask_HW, *, arch=NAME, **options):
    """Cache one photo of 96 x 64 with a mask of its size; return its header."""
    photo_folder(folder / "photos", ["a.png"], size_wh=SIZE_WH)
    save(folder / "masks" / "a.png", mask_HW)
    captions(folder, ["a"])
    build(folder, arch=arch, mask_directory=folder / "masks", resolution=list(SIZE_WH), **options)
    [header] = list_headers(folder / "cache", family_of(arch).cache_suffix)
    return header


def one_square(value=255):
    """Return a mask with one square of 8 pixels: the upper right quarter of the upper left cell."""
    mask_HW = torch.zeros(SIZE_WH[1], SIZE_WH[0], dtype=torch.uint8)
    mask_HW[:8, 8:16] = value
    return mask_HW.numpy()


def losses(cache, output, **options):
    recorder = Recorder()
    plan = plan_training(train_config(cache, output, arch=None, **options))
    train_lora.run(plan, RunContext(recorder))
    return [event.values["loss"] for event in recorder.of(Measured)]


def test_the_cache_holds_weights_of_16_and_of_8_pixels(tmp_path):
    header = cached(tmp_path, one_square())
    entry = load_entry(header)
    assert entry.weights_1fhw.shape == (1, 1, 4, 6)
    assert entry.weights_1fhw[0, 0, 0, 0] == 0.25
    assert entry.subweights_1fhw.shape == (1, 1, 8, 12)
    assert entry.subweights_1fhw.nonzero().tolist() == [[0, 0, 0, 1]]
    assert entry.subregions_4fhw[0, 0, 0, 1] == 1.0
    assert torch.equal(entry.subregions_4fhw.sum(dim=0), torch.ones(1, 8, 12))


def test_names_and_keys_are_musubi_tuners(tmp_path):
    header = cached(tmp_path, one_square())
    assert header.path.name == "a_0096x0064_f2k4b.safetensors"
    tensors = read_tensors(header.path)
    assert tensors["latents_4x6_float32"].shape == (128, 4, 6)
    assert tensors["mask_weights_1x4x6_float32"].shape == (1, 1, 4, 6)
    assert header.metadata["architecture"] == "flux_2_klein_4b"
    # The mask fork takes every key that begins so for the weights of the latent grid.
    assert len([key for key in tensors if key.startswith("mask_weights")]) == 1
    (text,) = read_tensors(header.text_path).items()
    assert (text[0], text[1].shape) == ("ctx_vec_bfloat16", (512, 384))


def test_a_retouched_mask_changes_both(tmp_path):
    before = read_tensors(cached(tmp_path, one_square()).path)
    save(tmp_path / "masks" / "a.png", one_square(128))
    header = cached(tmp_path, one_square(128))
    after, entry = read_tensors(header.path), load_entry(header)
    assert torch.equal(before["latents_4x6_float32"], after["latents_4x6_float32"])
    assert entry.subweights_1fhw[0, 0, 0, 1].item() == pytest.approx(128 / 255)
    assert entry.weights_1fhw[0, 0, 0, 0].item() == pytest.approx(128 / 255 / 4)


def test_training_listens_to_8_pixels(tmp_path):
    """Two masks with the same weights at 16 pixels and other squares of 8 pixels give other losses."""
    other = one_square().copy()
    other[:8, 8:16], other[:8, :8] = 0, 255
    options = {"use_mask_loss": True, "prior_preservation_weight": 0.5, "max_train_steps": 1}
    first, second = cached(tmp_path / "a", one_square()), cached(tmp_path / "b", other)
    assert torch.equal(load_entry(first).weights_1fhw, load_entry(second).weights_1fhw)
    assert losses(tmp_path / "a" / "cache", tmp_path / "o1", **options) != losses(
        tmp_path / "b" / "cache", tmp_path / "o2", **options
    )


@pytest.mark.parametrize("controls", [0, 2])
def test_a_cache_of_musubi_tuner_trains(tmp_path, controls):
    """As its ``cache_io.py`` writes it: three axes, no frames in the names, text of fixed length; the fork's mask."""
    facts = {"architecture": "flux_2_klein_4b", "width": "96", "height": "64", "format_version": "1.0.1"}
    tensors = {"latents_4x6_bfloat16": seeded(128, 4, 6).bfloat16()}
    for number in range(controls):
        tensors[f"latents_control_{number}_3x2_bfloat16"] = seeded(128, 3, 2, seed=number).bfloat16()
    tensors["mask_weights_4x6_float16"] = torch.ones(1, 1, 4, 6).half()
    (tmp_path / "cache").mkdir()
    save_file(tensors, tmp_path / "cache" / "a_0096x0064_f2k4b.safetensors", metadata=facts)
    text = {"ctx_vec_bfloat16": seeded(512, 384).bfloat16()}
    save_file(text, tmp_path / "cache" / "a_f2k4b_te.safetensors", metadata={**facts, "caption1": "kyla"})
    task = "edit" if controls else "t2i"
    config = train_config(tmp_path / "cache", tmp_path / "out", arch=NAME, task=task, use_mask_loss=True)
    plan = plan_training(config)
    recorder = Recorder()
    train_lora.run(plan, RunContext(recorder))
    assert all(event.values["loss"] > 0 for event in recorder.of(Measured))


@pytest.mark.parametrize("arch", [NAME, "flux2-dev"])
def test_one_picture_is_learnt(tmp_path, arch):
    cached(tmp_path, one_square() * 0 + 255, arch=arch)
    # One noise level and plain noise: what is left is the picture.
    options = {"min_timestep": 900, "max_timestep": 900, "learning_rate": 2e-2, "network_dim": 16}
    measured = losses(tmp_path / "cache", tmp_path / "out", max_train_steps=16, **options)
    assert sum(measured[-4:]) < 0.85 * sum(measured[:4])
