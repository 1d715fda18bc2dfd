"""How the Wan families draw previews: diffusers' WanPipeline and WanImageToVideoPipeline."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from blissmask.families.files.part import Part
from blissmask.families.previews.pipeline import PictureEncoder, PipelineParts, PreviewPipeline, unipc, without_encoders
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.wan import parts
from blissmask.families.wan.image_to_video import clip_features
from blissmask.families.wan.text import MAX_TOKENS


def text_preview(
    *,
    cfg_scale: float,
    shift: float,
    vae: Part = parts.VAE,
    boundary: float | None = None,
    timestep_per_token: bool = False,
) -> PreviewPipeline:
    """Return how a family draws from text.

    Args:
        cfg_scale, shift: defaults.
        vae: with its decoder.
        boundary: noise level where two experts change over; None for one denoiser.
        timestep_per_token: whether the denoiser is TI2V-5B's.
    """
    return PreviewPipeline(
        vae=vae,
        pipeline=partial(_pipeline, "WanPipeline", boundary=boundary, timestep_per_token=timestep_per_token),
        arguments=_text_arguments,
        scheduler=unipc,
        cfg_scale=cfg_scale,
        shift=shift,
    )


def image_preview(
    *,
    cfg_scale: float,
    shift: float,
    vae: Part = parts.VAE,
    boundary: float | None = None,
    timestep_per_token: bool = False,
    sees_clip: bool = False,
) -> PreviewPipeline:
    """Return how a family draws from a first frame; ``sees_clip`` for Wan 2.1, the rest as :func:`text_preview`."""
    return PreviewPipeline(
        vae=vae,
        pipeline=partial(
            _pipeline, "WanImageToVideoPipeline", boundary=boundary, timestep_per_token=timestep_per_token
        ),
        arguments=_image_arguments,
        scheduler=unipc,
        cfg_scale=cfg_scale,
        shift=shift,
        pictures=(1, 1),
        picture_encoder=PictureEncoder(parts.CLIP, clip_features) if sees_clip else None,
    )


def _pipeline(name: str, loaded: PipelineParts, *, boundary: float | None, timestep_per_token: bool) -> Any:
    experts = loaded.denoisers
    has_both = {"high", "low"} <= experts.keys()
    return without_encoders(
        name,
        loaded,
        transformer=experts["high"] if has_both else next(iter(experts.values())),
        transformer_2=experts["low"] if has_both else None,
        boundary_ratio=boundary if has_both else None,
        expand_timesteps=timestep_per_token,
    )


def _text_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    settings = prompt.settings
    return {
        **prompt.texts(_text),
        **prompt.size(),
        "num_frames": settings.frame_count,
        "guidance_scale": settings.cfg_scale,
    }


def _image_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    if prompt.features_ND is not None:
        prompt.show_features(pipeline)
    return {**_text_arguments(pipeline, prompt), "image": prompt.images()[0]}


def _text(contents: Mapping[str, Tensor]) -> dict[str, Any]:
    rows_LD = contents["t5"]
    # As (1, 512, D): Wan was trained with zeros after the text, not masked.
    return {"prompt_embeds": F.pad(rows_LD, (0, 0, 0, MAX_TOKENS - len(rows_LD)))[None]}
