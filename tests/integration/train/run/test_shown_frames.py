"""Frames that a denoiser is shown and does not predict have no part in any loss."""

import pytest
import torch

from blissmask.cachefile.read import list_headers, load_entry
from blissmask.events import Measured
from blissmask.families.registry import load_architecture
from blissmask.training.data.batches import collate
from blissmask.training.data.items import make_item
from blissmask.training.step import noise_batch
from tests.builders.cached_families import FAMILIES, FILES, write_cache
from tests.builders.training import run, train_config

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "task"), FAMILIES, ids=lambda value: value)
def test_a_family_says_which_frames_it_does_not_predict(tmp_path, name, task):
    """Their prediction is the target itself; every other frame's is not."""
    arch = load_architecture(name)
    write_cache(tmp_path, arch, task)
    options = {"rule": None, "prior_threshold": None, "latent_scale": arch.latent.train_scale}
    batch = collate(
        [make_item(header, load_entry(header), **options) for header in list_headers(tmp_path, arch.cache_suffix)], 0
    )
    denoiser = arch.load_denoiser(FILES, expert=arch.experts(task)[-1].name, task=task, device=CPU, dtype=torch.float32)
    target, inputs = noise_batch(batch, torch.tensor([0.3, 0.7]), seed=1, device=CPU)
    with torch.no_grad():
        errors = (denoiser.predict(inputs) - target).abs().amax(dim=(0, 1, 3, 4))
    predicted = [bool(error > 1e-3) for error in errors]
    shown = arch.shown_frames(task)
    assert predicted == [frame >= shown for frame in range(len(errors))]


@pytest.mark.parametrize(
    "options", [{"use_mask_loss": True, "prior_preservation_weight": 0.5}, {}, {"unmasked_probability": 1.0}]
)
def test_a_shown_frame_does_not_dilute_the_losses(tmp_path, monkeypatch, options):
    """Of two latent frames the first is shown, without any error: counted, it would halve everything."""
    arch = load_architecture("wan22-5b")
    cache = write_cache(tmp_path / "cache", arch, "i2v")
    values = []
    for name in ("ours", "diluted"):
        if name == "diluted":
            monkeypatch.setattr(type(arch), "shown_frames", lambda self, task: 0)
        _, recorder = run(
            train_config(cache, tmp_path / name, arch=None, max_train_steps=1, validation_split=0.5, **options)
        )
        values.append(recorder.of(Measured)[0].values)
    ours, diluted = values
    losses = [key for key in ours if "loss" in key and key != "prior/loss"]
    assert {"loss", "val/loss"} <= set(losses)
    assert [ours[key] for key in losses] == pytest.approx([2 * diluted[key] for key in losses], rel=1e-4)
    if "mask/weight" in ours:
        assert ours["mask/weight"] == pytest.approx(diluted["mask/weight"])
