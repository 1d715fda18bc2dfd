"""A preview shows the denoiser what training shows it: the first pass of a family's pipeline is its own prediction."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as edit
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus

from blissmask.errors import ModelError
from blissmask.families.protocol import Batch
from tests.builders.families import NAMES, TASKS, family_of
from tests.builders.pictures import random_rgb
from tests.builders.tiny_previews import SIDE, changed_prompt, draw, first_pass, tiny_preview, trained_conditioning

TWO_EXPERTS = [(name, task) for name, task in TASKS if len(family_of(name, task).experts) == 2]


@pytest.fixture(autouse=True)
def small_controls(monkeypatch):
    """Let the Edit pipelines encode controls at 64 x 64 instead of a million pixels, which take miniatures seconds."""
    monkeypatch.setattr(edit_plus, "VAE_IMAGE_SIZE", SIDE * SIDE)
    whole = edit.calculate_dimensions
    monkeypatch.setattr(edit, "calculate_dimensions", lambda area, ratio: whole(SIDE * SIDE, ratio))


@pytest.mark.parametrize(("name", "task"), TASKS, ids=lambda value: value)
def test_first_pass_is_what_training_predicts(name, task):
    made = tiny_preview(name, task)
    level, noisy, prediction = first_pass(made)
    denoiser = made.denoisers.get("high") or made.denoisers[""]
    batch = Batch(noisy, torch.tensor([level]), trained_conditioning(made))
    with torch.no_grad():
        ours = denoiser.predict(batch)
    # What is predicted for frames that are shown without noise is thrown away.
    shown = made.family.task.shown_frames
    ours, prediction = ours[:, :, shown:], prediction[:, :, shown:]
    assert prediction.abs().max() > 0.1
    torch.testing.assert_close(prediction, ours, atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "task"), TASKS, ids=lambda value: value)
def test_a_prompt_is_drawn_in_its_size_and_the_same_each_time(name, task, dtype):
    made = tiny_preview(name, task, dtype=dtype)
    first, second = draw(made), draw(made)
    assert first.shape == (made.prompt.settings.frame_count, SIDE, SIDE, 3)
    assert first.dtype == np.uint8
    assert first.std() > 5
    assert (first == second).all()


@pytest.mark.parametrize("name", [name for name in NAMES if family_of(name).task.takes_videos])
def test_one_frame_is_a_picture_and_seed_and_guidance_change_it(name):
    made = tiny_preview(name, "", frame_count=1, size_wh=(SIDE, 2 * SIDE))
    first = draw(made)
    assert first.shape == (1, 2 * SIDE, SIDE, 3)
    for change in ({"seed": 4}, {"cfg_scale": 9.0}, {"negative": None, "cfg_scale": 1.0}, {"shift": 1.0}, {"steps": 1}):
        kept = made.prompt
        made.prompt = changed_prompt(kept, **change)
        assert (draw(made) != first).any(), change
        made.prompt = kept


@pytest.mark.parametrize("there", [("high", "low"), ("low",), ("high",)])
@pytest.mark.parametrize(("name", "task"), TWO_EXPERTS)
def test_both_experts_draw_where_both_are_there(name, task, there):
    made = tiny_preview(name, task, steps=6)
    made.denoisers = {name: made.denoisers[name] for name in there}
    calls = dict.fromkeys(there, 0)

    def count(name, *_):
        calls[name] += 1

    for name, denoiser in made.denoisers.items():
        denoiser.module.register_forward_pre_hook(functools.partial(count, name))
    draw(made)
    assert sum(calls.values()) == 2 * 6
    assert min(calls.values()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_whole_is_decoded_in_tiles(monkeypatch, name):
    made = tiny_preview(name, "", frame_count=1, steps=1, negative=None, cfg_scale=1.0, size_wh=(288, 256))
    pictures = [random_rgb((288, 256))] * len(made.prompt.pictures)
    made.prompt = dataclasses.replace(made.prompt, pictures=pictures)
    whole = draw(made)
    vae = made.sampler._vae
    genuine, refused = type(vae)._decode, []

    def decode(vae, latents, *args, **options):
        if not vae.use_tiling:
            refused.append(latents.shape)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(vae, latents, *args, **options)

    monkeypatch.setattr(type(vae), "_decode", decode)
    tiled = draw(made)
    assert len(refused) == 1
    assert tiled.shape == whole.shape == (1, 256, 288, 3)
    assert 0 < np.abs(tiled.astype(int) - whole).mean() < 10
    assert not vae.use_tiling


def test_a_picture_that_is_not_finite_is_an_error():
    made = tiny_preview(NAMES[0], "", frame_count=1)
    denoiser, *_ = made.denoisers.values()
    with torch.no_grad():
        for parameter in denoiser.module.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ModelError, match="no numbers"):
        draw(made)
