"""Previews in miniature: a family with everything that it draws a picture with, and the first pass of its pipeline."""

import dataclasses

import torch

from blissmask.families.family import FamilyForTask
from blissmask.families.previews import Drawing, Painter, Shot, encode_picture, euler, to_signed
from tests.builders.families import CPU, TINY, family_of
from tests.builders.pictures import random_rgb

# A side that no text encoder and no control picture of this area needs resizing for.
SIDE = 64
_SHIFT = 3.0


@dataclasses.dataclass
class Studio:
    """A family in miniature, ready to draw a shot."""

    family: FamilyForTask
    drawing: Drawing
    painter: Painter
    denoisers: dict
    shot: Shot


def studio(name, task, *, frames=None, dtype=torch.float32, text='a cat that says "hello"', **changes):
    family = family_of(name, task)
    drawing = family.drawing()
    text_encoder = family.load_text_encoder(TINY, device=CPU, dtype=torch.float32)
    pictures = [random_rgb((SIDE, SIDE), seed=7)] * drawing.pictures[0]
    images = [[to_signed(picture) for picture in pictures]] * 2 if family.task.text_sees_controls else None
    prompt, negative = text_encoder.encode([text, "blurred"], images)
    features = None
    if drawing.picture_encoder is not None:
        model = drawing.picture_encoder.part.load(TINY, device=CPU, dtype=torch.float32)
        features = encode_picture(drawing.picture_encoder, model, pictures[0])
    shot = Shot(
        text=prompt.tensors,
        negative=negative.tensors,
        size_wh=(SIDE, SIDE),
        frames=frames or (5 if family.task.takes_videos else 1),
        steps=2,
        cfg_scale=3.0,
        # What training tells a distilled model.
        guidance=None if drawing.guidance is None else 1.0,
        shift=drawing.shift,
        seed=3,
        pictures=pictures,
        features_ND=features,
    )
    denoisers = {expert.name: family.load_denoiser(TINY, expert, device=CPU, dtype=dtype) for expert in family.experts}
    painter = Painter(drawing, TINY, device=CPU, dtype=dtype, vae_dtype=torch.float32)
    return Studio(family, drawing, painter, denoisers, dataclasses.replace(shot, **changes))


def draw(made):
    return made.painter.draw({name: denoiser.module for name, denoiser in made.denoisers.items()}, made.shot)


def first_pass(made):
    """Draw without guidance, and return the first noise level, the noisy latents and the prediction, as latents."""
    seen = []

    class Spy:
        def __init__(self, scheduler):
            self._scheduler = scheduler

        def __getattr__(self, name):
            return getattr(self._scheduler, name)

        def step(self, prediction, timestep, sample, **options):
            seen.append((float(timestep) / 1000, sample.clone(), prediction.clone()))
            return self._scheduler.step(prediction, timestep, sample, **options)

    # Euler's first step is the plain prediction, and its time has no rounding.
    drawing = dataclasses.replace(made.drawing, scheduler=lambda shift, steps: Spy(euler(shift or _SHIFT, steps)))
    made.painter._drawing = drawing
    made.shot = dataclasses.replace(made.shot, negative=None, cfg_scale=1.0)
    draw(made)
    level, sample, prediction = seen[0]
    if sample.ndim == 3:
        rows = SIDE // made.family.latent.spatial_stride
        sample, prediction = (_unpacked(tokens, rows) for tokens in (sample, prediction))
    return level, sample.float(), prediction.float()


def _unpacked(tokens_BND, rows):
    """Return latents_BC1HW of pipelines that hold 2 x 2 cells in a token, channel by channel."""
    cells = tokens_BND.unflatten(1, (rows // 2, rows // 2)).unflatten(-1, (-1, 2, 2))
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3, 4).unsqueeze(2)


def trained_conditioning(made):
    """Return what training would show beside the noise: the cache contents of a clip that starts with the same picture."""
    contents = {name: [tensor] for name, tensor in made.shot.text.items()}
    if made.drawing.pictures[1]:
        encoder = made.family.load_latent_encoder(TINY, device=CPU, dtype=torch.float32)
        first = to_signed(made.shot.pictures[0])[None, :, None]
        clip = torch.cat([first, torch.zeros(1, 3, made.shot.frames - 1, SIDE, SIDE)], dim=2)
        controls = [first] if made.family.task.text_sees_controls else []
        encoded = encoder.encode_item(clip, controls=controls)
        contents |= {name: [tensor[0]] for name, tensor in encoded.items() if name != "latents"}
    return contents
