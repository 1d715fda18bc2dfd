"""Previews in miniature: a family with everything that it draws a picture with, and the first pass of its pipeline."""

import dataclasses
import functools

import torch

from blissmask.families.family import FamilyForTask
from blissmask.families.previews.pipeline import PreviewPipeline, encode_picture, euler
from blissmask.families.previews.prompt import EncodedPrompt, PreviewSettings
from blissmask.families.previews.sampler import PreviewSampler
from blissmask.families.vae.pixels import signed_picture
from tests.builders.families import CPU, TINY, family_of
from tests.builders.pictures import random_rgb

# A side that no text encoder and no control picture of this area needs resizing for.
SIDE = 64
_SHIFT = 3.0


@dataclasses.dataclass
class TinyPreview:
    """A family in miniature, ready to draw a prompt."""

    family: FamilyForTask
    pipeline: PreviewPipeline
    sampler: PreviewSampler
    denoisers: dict
    prompt: EncodedPrompt


def tiny_preview(name, task, *, frame_count=None, dtype=torch.float32, text='a cat that says "hello"', **changes):
    family = family_of(name, task)
    pipeline = family.preview_pipeline()
    pictures = [random_rgb((SIDE, SIDE), seed=7)] * pipeline.pictures[0]
    prompt, negative = _encoded_texts(name, task, text)
    features = None
    if pipeline.picture_encoder is not None:
        model = pipeline.picture_encoder.part.load(TINY, device=CPU, dtype=torch.float32)
        features = encode_picture(pipeline.picture_encoder, model, pictures[0])
    settings = PreviewSettings(
        size_wh=(SIDE, SIDE),
        frame_count=frame_count or (5 if family.task.takes_videos else 1),
        steps=2,
        cfg_scale=3.0,
        # What training gives a distilled model.
        guidance_scale=None if pipeline.guidance_scale is None else 1.0,
        shift=pipeline.shift,
        seed=3,
    )
    encoded = EncodedPrompt(
        text=prompt.tensors,
        negative=negative.tensors,
        pictures=pictures,
        features_ND=features,
        settings=settings,
    )
    denoisers = {expert.name: family.load_denoiser(TINY, expert, device=CPU, dtype=dtype) for expert in family.experts}
    sampler = PreviewSampler(pipeline, TINY, device=CPU, dtype=dtype, vae_dtype=torch.float32)
    return TinyPreview(family, pipeline, sampler, denoisers, changed_prompt(encoded, **changes))


@functools.cache
def _encoded_texts(name, task, text):
    """Return prompt and negative prompt; once in a process, since some encoders take longer than all else of a preview."""
    family = family_of(name, task)
    count = family.preview_pipeline().pictures[0]
    images = (
        [[signed_picture(random_rgb((SIDE, SIDE), seed=7))] * count] * 2 if family.task.text_sees_controls else None
    )
    return family.load_text_encoder(TINY, device=CPU, dtype=torch.float32).encode([text, "blurred"], images)


def changed_prompt(prompt, **changes):
    """Return the prompt with other settings, or without its negative prompt (``negative=None``)."""
    own = {"negative": changes.pop("negative")} if "negative" in changes else {}
    return dataclasses.replace(prompt, settings=dataclasses.replace(prompt.settings, **changes), **own)


def draw(made):
    return made.sampler.sample({name: denoiser.module for name, denoiser in made.denoisers.items()}, made.prompt)


class Spy:
    """Euler's scheduler, whose first step is the plain prediction, and whose time has no rounding.

    Attributes:
        seen: of each step the noise level, the noisy sample and the prediction.
    """

    def __init__(self, shift, steps):
        self._scheduler = euler(shift or _SHIFT, steps)
        self.seen = []

    def __getattr__(self, name):
        return getattr(self._scheduler, name)

    def step(self, prediction, timestep, sample, **options):
        self.seen.append((float(timestep) / 1000, sample.clone(), prediction.clone()))
        return self._scheduler.step(prediction, timestep, sample, **options)


def first_step(made):
    """Draw, and return the first noise level, and the noisy latents and the prediction as pictures with a frame axis."""
    spies = []

    def spy(shift, steps):
        spies.append(Spy(shift, steps))
        return spies[-1]

    made.sampler._pipeline = dataclasses.replace(made.pipeline, scheduler=spy)
    draw(made)
    level, sample, prediction = spies[0].seen[0]
    if sample.ndim == 3:
        latent = made.family.latent
        rows, cells = SIDE // latent.grid_multiple, latent.grid_multiple // latent.spatial_stride
        sample, prediction = (_unpacked(tokens, rows, cells) for tokens in (sample, prediction))
    if sample.ndim == 4:
        sample, prediction = sample.unsqueeze(2), prediction.unsqueeze(2)
    return level, sample.float(), prediction.float()


def first_pass(made):
    """Draw without guidance, and return the first noise level, the noisy latents and the prediction, as latents."""
    made.prompt = changed_prompt(made.prompt, negative=None, cfg_scale=1.0)
    return first_step(made)


def _unpacked(tokens_BND, rows, cells):
    """Return latents_BC1HW of pipelines that hold ``cells`` x ``cells`` cells in a token, channel by channel."""
    cells = tokens_BND.unflatten(1, (rows, rows)).unflatten(-1, (-1, cells, cells))
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3, 4).unsqueeze(2)


def trained_conditioning(made):
    """Return what training would show beside the noise: the cache contents of a clip that starts with the same picture."""
    contents = {name: [tensor] for name, tensor in made.prompt.text.items()}
    if made.pipeline.pictures[1]:
        encoder = made.family.load_latent_encoder(TINY, device=CPU, dtype=torch.float32)
        first = signed_picture(made.prompt.pictures[0])[None, :, None]
        clip = torch.cat([first, torch.zeros(1, 3, made.prompt.settings.frame_count - 1, SIDE, SIDE)], dim=2)
        controls = [first] if made.family.task.control_range[1] else []
        encoded = encoder.encode_item(clip, controls=controls)
        contents |= {name: [tensor[0]] for name, tensor in encoded.items() if name != "latents"}
    return contents
