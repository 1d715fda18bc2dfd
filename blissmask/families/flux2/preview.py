"""How FLUX.2 draws previews: diffusers' Flux2KleinPipeline, and Flux2Pipeline for dev."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from blissmask.families.previews.pipeline import PreviewPipeline, euler_by_size, without_encoders
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.vae.kl_flux2 import VAE


def _klein_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    # Without a negative prompt and with a scale above 1, the pipeline would encode an empty text.
    guidance_scale = 1.0 if prompt.negative is None else prompt.settings.cfg_scale
    return {**prompt.texts(_text), **_pictures(prompt), "guidance_scale": guidance_scale}


def _dev_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    # No negative prompt: the model is distilled for guidance.
    return {**_text(prompt.text), **_pictures(prompt), "guidance_scale": prompt.settings.guidance_scale}


def _pictures(prompt: EncodedPrompt) -> dict[str, Any]:
    return {**prompt.size(), "image": prompt.images() or None}


def _text(contents: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"prompt_embeds": contents["ctx_vec"][None]}


KLEIN = PreviewPipeline(
    vae=VAE,
    pipeline=partial(without_encoders, "Flux2KleinPipeline"),
    arguments=_klein_arguments,
    scheduler=euler_by_size,
    # Source of the defaults, here and below: diffusers' pipelines.
    cfg_scale=4.0,
    shift=None,
)
DEV = replace(
    KLEIN,
    pipeline=partial(without_encoders, "Flux2Pipeline"),
    arguments=_dev_arguments,
    cfg_scale=1.0,
    takes_negatives=False,
    guidance_scale=4.0,
)
