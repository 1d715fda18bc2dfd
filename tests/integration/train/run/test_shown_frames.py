"""Frames that a denoiser is shown and does not predict have no part in any loss."""

import dataclasses

import pytest
import torch

from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_headers import list_headers
from blissmask.events import Measured
from blissmask.families.family import Family
from blissmask.training.data.items import make_item
from blissmask.training.data.micro_batch import collate
from blissmask.training.step.run_step import noise_batch
from tests.builders.cached_families import write_cache
from tests.builders.families import CPU, TASKS, TINY, family_of
from tests.builders.training import run, train_config


@pytest.mark.parametrize(("name", "task"), TASKS, ids=lambda value: value)
def test_a_family_says_which_frames_it_does_not_predict(tmp_path, name, task):
    """Their prediction is the target itself; every other frame's is not."""
    family = family_of(name, task)
    write_cache(tmp_path, family)
    options = {"rule": None, "prior": None, "latent": family.latent}
    batch = collate(
        [make_item(header, load_entry(header), **options) for header in list_headers(tmp_path, family.cache_suffix)], 0
    )
    denoiser = family.load_denoiser(TINY, family.experts[-1], device=CPU, dtype=torch.float32)
    target, inputs = noise_batch(batch, torch.tensor([0.3, 0.7]), seed=1, device=CPU)
    with torch.no_grad():
        errors = (denoiser.predict(inputs) - target).abs().amax(dim=(0, 1, 3, 4))
    predicted = [bool(error > 1e-3) for error in errors]
    shown = family.task.shown_frames
    assert predicted == [frame >= shown for frame in range(len(errors))]


def predicting_all_frames(family, task_name="", for_task=Family.for_task):
    chosen = for_task(family, task_name)
    return dataclasses.replace(chosen, task=dataclasses.replace(chosen.task, shown_frames=0))


@pytest.mark.parametrize(
    "options", [{"use_mask_loss": True, "prior_preservation_weight": 0.5}, {}, {"unmasked_probability": 1.0}]
)
def test_a_shown_frame_does_not_dilute_the_losses(tmp_path, monkeypatch, options):
    """Of two latent frames the first is shown, without any error: counted, it would halve everything."""
    name, task = next((name, task) for name, task in TASKS if family_of(name, task).task.shown_frames == 1)
    cache = write_cache(tmp_path / "cache", family_of(name, task))
    values = []
    for run_name in ("ours", "diluted"):
        if run_name == "diluted":
            monkeypatch.setattr(Family, "for_task", predicting_all_frames)
        _, recorder = run(
            train_config(cache, tmp_path / run_name, arch=None, max_train_steps=1, validation_split=0.5, **options)
        )
        values.append(recorder.of(Measured)[0].values)
    ours, diluted = values
    losses = [key for key in ours if "loss" in key and key != "prior/loss"]
    assert {"loss", "val/loss"} <= set(losses)
    assert [ours[key] for key in losses] == pytest.approx([2 * diluted[key] for key in losses], rel=1e-4)
    if "mask/weight" in ours:
        assert ours["mask/weight"] == pytest.approx(diluted["mask/weight"])
