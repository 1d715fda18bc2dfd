"""How Qwen-Image and its Edit models draw: diffusers' QwenImagePipeline, QwenImageEditPipeline and QwenImageEditPlusPipeline."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from blissmask.families.previews import Drawing, Parts, Shot, euler
from blissmask.families.qwen import family
from blissmask.families.wan.vae import load_vae

# Source: the Qwen-Image repository.
_CFG_SCALE = 4.0
_MAX_TOKENS = 1024
_load_vae = partial(load_vae, class_name="AutoencoderKLQwenImage", decoder=True)


def qwen_drawing() -> Drawing:
    """Return how Qwen-Image draws from text."""
    return Drawing(
        vae=family.VAE,
        load_vae=_load_vae,
        text_encoders=(family.TEXT_ENCODER,),
        pipeline=_pipeline,
        arguments=_arguments,
        scheduler=euler,
        cfg_scale=_CFG_SCALE,
        shift=None,
    )


def qwen_edit_drawing(*, pictures: tuple[int, int]) -> Drawing:
    """Return how an Edit model draws; one that takes a single picture is the first of them.

    The text, pictures included, is encoded by us: diffusers 0.42's own encoding gives picture tokens the positions of
    plain text.
    """
    single = pictures[1] == 1
    return Drawing(
        vae=family.VAE,
        load_vae=_load_vae,
        text_encoders=(family.TEXT_ENCODER,),
        pipeline=_edit_pipeline if single else _edit_plus_pipeline,
        arguments=_edit_arguments if single else _edit_plus_arguments,
        scheduler=euler,
        cfg_scale=_CFG_SCALE,
        shift=None,
        pictures=pictures,
    )


def _pipeline(parts: Parts) -> Any:
    from diffusers import QwenImagePipeline

    return QwenImagePipeline(text_encoder=None, tokenizer=None, **_parts(parts))


def _edit_pipeline(parts: Parts) -> Any:
    from diffusers import QwenImageEditPipeline

    return QwenImageEditPipeline(text_encoder=None, tokenizer=None, processor=None, **_parts(parts))


def _edit_plus_pipeline(parts: Parts) -> Any:
    from diffusers import QwenImageEditPlusPipeline

    return QwenImageEditPlusPipeline(text_encoder=None, tokenizer=None, processor=None, **_parts(parts))


def _parts(parts: Parts) -> dict[str, Any]:
    return {"vae": parts.vae, "scheduler": parts.scheduler, "transformer": parts.denoisers[""]}


def _arguments(pipeline: Any, shot: Shot) -> dict[str, Any]:
    width, height = shot.size_wh
    embeds, mask = _text(shot.text)
    arguments = {
        "prompt_embeds": embeds,
        "prompt_embeds_mask": mask,
        "true_cfg_scale": shot.cfg_scale,
        "height": height,
        "width": width,
    }
    if shot.negative is not None:
        arguments["negative_prompt_embeds"], arguments["negative_prompt_embeds_mask"] = _text(shot.negative)
    # The pipeline would cut text at 512 rows, training does not.
    return {**arguments, "max_sequence_length": _MAX_TOKENS}


def _edit_arguments(pipeline: Any, shot: Shot) -> dict[str, Any]:
    _encode_in_own_precision(pipeline)
    return {**_arguments(pipeline, shot), "image": shot.images()[0]}


def _edit_plus_arguments(pipeline: Any, shot: Shot) -> dict[str, Any]:
    _encode_in_own_precision(pipeline)
    return {**_arguments(pipeline, shot), "image": shot.images()}


def _encode_in_own_precision(pipeline: Any) -> None:
    """Let the VAE encode control pictures in its precision; the pipeline takes the denoiser's, and breaks where they differ."""
    encode, dtype = pipeline._encode_vae_image, pipeline.vae.dtype
    pipeline._encode_vae_image = lambda image, generator: encode(image.to(dtype), generator).to(image.dtype)


def _text(contents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    rows_1LD = contents["vl_embed"][None]
    return rows_1LD, torch.ones(rows_1LD.shape[:2], dtype=torch.long, device=rows_1LD.device)
