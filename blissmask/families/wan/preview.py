"""How the Wan families draw: diffusers' WanPipeline and WanImageToVideoPipeline, both experts of 2.2 where both are there."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from blissmask.families.previews import Drawing, Parts, PictureEncoder, Shot, unipc
from blissmask.families.wan import family as wan
from blissmask.families.wan import wan22_5b
from blissmask.families.wan.clip import clip_features, load_clip
from blissmask.families.wan.text import MAX_TOKENS
from blissmask.families.wan.vae import load_vae

_load_vae = partial(load_vae, decoder=True)


# Guidance and shift of each task. Sources: the Wan 2.1 and 2.2 repositories; 2.2 uses 4 and 3 for its two experts.
_DEFAULTS = {"wan21": {"t2v": (5.0, 5.0), "i2v": (5.0, 5.0)}, "wan22": {"t2v": (3.5, 12.0), "i2v": (3.5, 5.0)}}


def wan_drawing(family: wan.WanFamily, task: str) -> Drawing:
    """Return how a Wan of stride 8 draws."""
    image_task = task != "t2v"
    cfg_scale, shift = _DEFAULTS[family.name][task]
    experts = family.experts(task)
    return Drawing(
        vae=wan.VAE,
        load_vae=_load_vae,
        text_encoders=(wan.TEXT_ENCODER,),
        pipeline=partial(_pipeline, image_task=image_task, boundary=family.boundaries.get(task)),
        arguments=_image_arguments if image_task else _text_arguments,
        scheduler=unipc,
        cfg_scale=cfg_scale,
        shift=shift,
        pictures=(1, 1) if image_task else (0, 0),
        picture_encoder=PictureEncoder(wan.IMAGE_ENCODER, load_clip, clip_features)
        if image_task and family.sees_clip
        else None,
        experts={expert.name: family.denoiser(expert.name, task) for expert in experts if len(experts) > 1},
    )


def wan_5b_drawing(task: str) -> Drawing:
    """Return how TI2V-5B draws: one timestep per token. Source of the defaults: the Wan 2.2 repository."""
    image_task = task != "t2v"
    return Drawing(
        vae=wan22_5b.VAE,
        load_vae=_load_vae,
        text_encoders=(wan.TEXT_ENCODER,),
        pipeline=partial(_pipeline, image_task=image_task, expand_timesteps=True),
        arguments=_image_arguments if image_task else _text_arguments,
        scheduler=unipc,
        cfg_scale=5.0,
        shift=5.0,
        pictures=(1, 1) if image_task else (0, 0),
    )


def _pipeline(parts: Parts, *, image_task: bool, boundary: float | None = None, expand_timesteps: bool = False) -> Any:
    from diffusers import WanImageToVideoPipeline, WanPipeline

    experts = list(parts.denoisers.values())
    both = {"high", "low"} <= parts.denoisers.keys()
    return (WanImageToVideoPipeline if image_task else WanPipeline)(
        tokenizer=None,
        text_encoder=None,
        vae=parts.vae,
        scheduler=parts.scheduler,
        transformer=parts.denoisers["high"] if both else experts[0],
        transformer_2=parts.denoisers["low"] if both else None,
        boundary_ratio=boundary if both else None,
        expand_timesteps=expand_timesteps,
    )


def _text_arguments(pipeline: Any, shot: Shot) -> dict[str, Any]:
    width, height = shot.size_wh
    return {
        "prompt_embeds": _padded(shot.text["t5"]),
        "negative_prompt_embeds": None if shot.negative is None else _padded(shot.negative["t5"]),
        "guidance_scale": shot.cfg_scale,
        "height": height,
        "width": width,
        "num_frames": shot.frames,
    }


def _image_arguments(pipeline: Any, shot: Shot) -> dict[str, Any]:
    if shot.features_ND is not None:
        # The pipeline has an argument for them, and refuses it beside the picture, which it needs as well.
        pipeline.encode_image = lambda *_: shot.features_ND[None]
    return {**_text_arguments(pipeline, shot), "image": shot.images()[0]}


def _padded(rows_LD: Tensor) -> Tensor:
    """Return the text rows as (1, 512, D); Wan was trained with zeros after the text, not masked."""
    return F.pad(rows_LD, (0, 0, 0, MAX_TOKENS - len(rows_LD)))[None]
