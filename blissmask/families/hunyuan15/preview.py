"""How HunyuanVideo 1.5 draws previews: diffusers' HunyuanVideo15Pipeline and its image-to-video sister."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from blissmask.families.encoders import siglip
from blissmask.families.hunyuan15 import parts
from blissmask.families.previews import EncodedPrompt, PictureEncoder, PreviewPipeline, euler, without_encoders
from blissmask.families.vae.hunyuan import VAE_15


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
        rows_LD = contents[content]
        is_empty = len(rows_LD) == 0
        if is_empty:
            # The pipeline cannot reshape a text without rows: one of zeros stands for it, and is masked.
            rows_LD = rows_LD.new_zeros(1, rows_LD.shape[1])
        mask_1L = torch.full((1, len(rows_LD)), int(not is_empty), device=rows_LD.device)
        arguments |= {f"prompt_embeds{suffix}": rows_LD[None], f"prompt_embeds_mask{suffix}": mask_1L}
    return arguments


TEXT_TO_VIDEO = PreviewPipeline(
    vae=VAE_15,
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
