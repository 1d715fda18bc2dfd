"""How HunyuanVideo 1.5 draws previews: diffusers' HunyuanVideo15Pipeline and its image-to-video sister."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blissmask.families.encoders import siglip
from blissmask.families.hunyuan15 import parts
from blissmask.families.previews import EncodedPrompt, PictureEncoder, PreviewPipeline, euler, without_encoders


def _text_to_video(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    return {**_arguments(pipeline, prompt), **prompt.size()}


def _image_to_video(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    size, features_ND = prompt.size(), prompt.features_ND
    assert features_ND is not None

    def own_size(**_: Any) -> tuple[int, int]:
        return size["height"], size["width"]

    def known_features(**_: Any) -> Tensor:
        return features_ND[None]

    # diffusers 0.42's pipeline takes no size: it draws in the size that it thinks best for the picture, and the picture
    # has the size of the preview already. It has no argument for features either.
    pipeline.video_processor.calculate_default_height_width = own_size
    pipeline.encode_image = known_features
    return {**_arguments(pipeline, prompt), "image": prompt.images()[0]}


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    from diffusers import ClassifierFreeGuidance

    is_guided = prompt.negative is not None
    pipeline.guider = ClassifierFreeGuidance(guidance_scale=prompt.settings.cfg_scale, enabled=is_guided)
    return {**prompt.texts(_text), "num_frames": prompt.settings.frame_count}


def _text(contents: Mapping[str, Tensor]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for suffix, content in (("", "vl_embed"), ("_2", "byt5_embed")):
        rows_1LD, mask_1L = _rows(contents[content])
        arguments |= {f"prompt_embeds{suffix}": rows_1LD, f"prompt_embeds_mask{suffix}": mask_1L}
    return arguments


def _rows(rows_LD: Tensor) -> tuple[Tensor, Tensor]:
    """Return text rows (1, L, D) and their mask; no rows become one masked row, which the pipeline can reshape."""
    mask_L = torch.ones(len(rows_LD), dtype=torch.long, device=rows_LD.device)
    if not len(rows_LD):
        rows_LD, mask_L = F.pad(rows_LD, (0, 0, 0, 1)), F.pad(mask_L, (0, 1))
    return rows_LD[None], mask_L[None]


TEXT_TO_VIDEO = PreviewPipeline(
    vae=parts.VAE,
    pipeline=partial(without_encoders, "HunyuanVideo15Pipeline"),
    arguments=_text_to_video,
    scheduler=euler,
    # Source of the defaults: the HunyuanVideo-1.5 repository, at 480p.
    cfg_scale=6.0,
    shift=5.0,
)
IMAGE_TO_VIDEO = replace(
    TEXT_TO_VIDEO,
    pipeline=partial(without_encoders, "HunyuanVideo15ImageToVideoPipeline"),
    arguments=_image_to_video,
    pictures=(1, 1),
    picture_encoder=PictureEncoder(parts.SIGLIP, siglip.features),
)
