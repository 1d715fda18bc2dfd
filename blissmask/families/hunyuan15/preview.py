"""How HunyuanVideo 1.5 draws previews: diffusers' HunyuanVideo15Pipeline and its image-to-video sister."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from blissmask.families.encoders import siglip
from blissmask.families.hunyuan15 import parts
from blissmask.families.previews.pipeline import PictureEncoder, PreviewPipeline, euler, rows_and_mask, without_encoders
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.vae.hunyuan import VAE_15


def _text_to_video(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    return {**_arguments(pipeline, prompt), **prompt.size()}


def _image_to_video(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    size = prompt.size()

    def own_size(**_: Any) -> tuple[int, int]:
        return size["height"], size["width"]

    # diffusers 0.42's pipeline takes no size: it draws in the size that it thinks best for the picture, and the picture
    # has the size of the preview already.
    pipeline.video_processor.calculate_default_height_width = own_size
    prompt.show_features(pipeline)
    return {**_arguments(pipeline, prompt), "image": prompt.images()[0]}


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    from diffusers import ClassifierFreeGuidance

    is_guided = prompt.negative is not None
    pipeline.guider = ClassifierFreeGuidance(guidance_scale=prompt.settings.cfg_scale, enabled=is_guided)
    return {**prompt.texts(_text), "num_frames": prompt.settings.frame_count}


def _text(contents: Mapping[str, Tensor]) -> dict[str, Any]:
    return {**rows_and_mask(contents["vl_embed"]), **rows_and_mask(contents["byt5_embed"], suffix="_2")}


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
