"""How FLUX.2 draws previews: diffusers' Flux2KleinPipeline, and Flux2Pipeline for dev."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from blissmask.families.flux2 import parts
from blissmask.families.previews import EncodedPrompt, PipelineParts, PreviewPipeline, euler, without_texts
from blissmask.families.vae.kl_flux2 import VAE


def _scheduler(shift: float | None, steps: int) -> Any:
    """Return Euler's scheduler; without a shift the pipeline derives one from size and number of steps."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return euler(shift, steps) if shift is not None else FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


def _pipeline(name: str, loaded: PipelineParts) -> Any:
    """Return diffusers' pipeline of a class, so that it hands latents to the VAE in the VAE's precision.

    diffusers 0.42's pipelines keep the denoiser's, and break where the two differ.
    """
    pipeline = without_texts(name, loaded)
    unfold = pipeline._unpatchify_latents

    def unfold_and_cast(latents: Tensor) -> Tensor:
        return unfold(latents).to(pipeline.vae.dtype)  # type: ignore[no-any-return]

    pipeline._unpatchify_latents = unfold_and_cast
    return pipeline


def _klein_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    if prompt.negative is None:
        # With a scale above 1 the pipeline would encode an empty text.
        return {**_arguments(prompt), "guidance_scale": 1.0}
    negative = prompt.negative["ctx_vec"][None]
    return {**_arguments(prompt), "guidance_scale": prompt.settings.cfg_scale, "negative_prompt_embeds": negative}


def _dev_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    return {**_arguments(prompt), "guidance_scale": prompt.settings.guidance_scale}


def _arguments(prompt: EncodedPrompt) -> dict[str, Any]:
    width, height = prompt.settings.size_wh
    return {
        "image": prompt.images() or None,
        "prompt_embeds": prompt.text["ctx_vec"][None],
        "height": height,
        "width": width,
    }


KLEIN = PreviewPipeline(
    vae=VAE,
    pipeline=partial(_pipeline, "Flux2KleinPipeline"),
    arguments=_klein_arguments,
    scheduler=_scheduler,
    # Source of the defaults, here and below: diffusers' pipelines.
    cfg_scale=4.0,
    shift=None,
)
KLEIN_EDIT = replace(KLEIN, pictures=parts.CONTROL_RANGE)
DEV = PreviewPipeline(
    vae=VAE,
    pipeline=partial(_pipeline, "Flux2Pipeline"),
    arguments=_dev_arguments,
    scheduler=_scheduler,
    cfg_scale=1.0,
    takes_negatives=False,
    guidance_scale=4.0,
    shift=None,
)
DEV_EDIT = replace(DEV, pictures=parts.CONTROL_RANGE)
