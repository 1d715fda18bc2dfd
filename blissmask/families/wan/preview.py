"""How the Wan families draw previews: diffusers' WanPipeline and WanImageToVideoPipeline."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from blissmask.families.files.part import Part
from blissmask.families.previews import EncodedPrompt, PictureEncoder, PipelineParts, PreviewPipeline, unipc
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
        pipeline=partial(_text_pipeline, boundary=boundary, timestep_per_token=timestep_per_token),
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
        pipeline=partial(_image_pipeline, boundary=boundary, timestep_per_token=timestep_per_token),
        arguments=_image_arguments,
        scheduler=unipc,
        cfg_scale=cfg_scale,
        shift=shift,
        pictures=(1, 1),
        picture_encoder=PictureEncoder(parts.CLIP, clip_features) if sees_clip else None,
    )


def _text_pipeline(loaded: PipelineParts, *, boundary: float | None, timestep_per_token: bool) -> Any:
    from diffusers import WanPipeline

    return WanPipeline(**_modules(loaded, boundary), expand_timesteps=timestep_per_token)


def _image_pipeline(loaded: PipelineParts, *, boundary: float | None, timestep_per_token: bool) -> Any:
    from diffusers import WanImageToVideoPipeline

    return WanImageToVideoPipeline(**_modules(loaded, boundary), expand_timesteps=timestep_per_token)


def _modules(loaded: PipelineParts, boundary: float | None) -> dict[str, Any]:
    experts = loaded.denoisers
    has_both = {"high", "low"} <= experts.keys()
    return {
        "tokenizer": None,
        "text_encoder": None,
        "vae": loaded.vae,
        "scheduler": loaded.scheduler,
        "transformer": experts["high"] if has_both else next(iter(experts.values())),
        "transformer_2": experts["low"] if has_both else None,
        "boundary_ratio": boundary if has_both else None,
    }


def _text_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    width, height = prompt.settings.size_wh
    return {
        "prompt_embeds": _padded(prompt.text["t5"]),
        "negative_prompt_embeds": None if prompt.negative is None else _padded(prompt.negative["t5"]),
        "guidance_scale": prompt.settings.cfg_scale,
        "height": height,
        "width": width,
        "num_frames": prompt.settings.frame_count,
    }


def _image_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    features_ND = prompt.features_ND
    if features_ND is not None:

        def known_features(*_: Any) -> Tensor:
            return features_ND[None]

        # diffusers 0.42's pipeline has an argument for features, and refuses it beside the picture, which it needs too.
        pipeline.encode_image = known_features
    return {**_text_arguments(pipeline, prompt), "image": prompt.images()[0]}


def _padded(rows_LD: Tensor) -> Tensor:
    """Return the text rows as (1, 512, D); Wan was trained with zeros after the text, not masked."""
    return F.pad(rows_LD, (0, 0, 0, MAX_TOKENS - len(rows_LD)))[None]
