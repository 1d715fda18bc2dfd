"""How HunyuanVideo and HunyuanVideo 1.5 draw: diffusers' HunyuanVideoPipeline, HunyuanVideo15Pipeline and its image-to-video sister."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blissmask.families.hunyuan import hunyuan_video
from blissmask.families.hunyuan.vae import load_vae
from blissmask.families.hunyuan15 import hunyuan_video_15
from blissmask.families.hunyuan15.siglip import load_siglip, siglip_features
from blissmask.families.previews import Drawing, Parts, PictureEncoder, Shot, euler


def hunyuan_drawing() -> Drawing:
    """Return how HunyuanVideo draws; the released model is told a guidance instead of predicting twice.

    Defaults: its repository.
    """
    return Drawing(
        vae=hunyuan_video.VAE,
        load_vae=partial(load_vae, class_name="AutoencoderKLHunyuanVideo", decoder=True),
        text_encoders=(hunyuan_video.TEXT_ENCODER, hunyuan_video.TEXT_ENCODER_2),
        pipeline=_pipeline,
        arguments=_arguments,
        scheduler=euler,
        cfg_scale=1.0,
        shift=7.0,
        guidance=6.0,
    )


def hunyuan15_drawing(task: str) -> Drawing:
    """Return how HunyuanVideo 1.5 draws. Source of the defaults: its repository, at 480p."""
    image_task = task != "t2v"
    return Drawing(
        vae=hunyuan_video_15.VAE,
        load_vae=partial(load_vae, class_name="AutoencoderKLHunyuanVideo15", decoder=True),
        text_encoders=(hunyuan_video_15.TEXT_ENCODER, hunyuan_video_15.TEXT_ENCODER_2),
        pipeline=_image_pipeline_15 if image_task else _pipeline_15,
        arguments=_image_arguments_15 if image_task else _sized_arguments_15,
        scheduler=euler,
        cfg_scale=6.0,
        shift=5.0,
        pictures=(1, 1) if image_task else (0, 0),
        picture_encoder=PictureEncoder(hunyuan_video_15.IMAGE_ENCODER, load_siglip, siglip_features)
        if image_task
        else None,
    )


def _pipeline(parts: Parts) -> Any:
    from diffusers import HunyuanVideoPipeline

    return HunyuanVideoPipeline(**_parts(parts))


def _pipeline_15(parts: Parts) -> Any:
    from diffusers import ClassifierFreeGuidance, HunyuanVideo15Pipeline

    return HunyuanVideo15Pipeline(guider=ClassifierFreeGuidance(), **_parts(parts))


def _image_pipeline_15(parts: Parts) -> Any:
    from diffusers import ClassifierFreeGuidance, HunyuanVideo15ImageToVideoPipeline

    return HunyuanVideo15ImageToVideoPipeline(
        guider=ClassifierFreeGuidance(), image_encoder=None, feature_extractor=None, **_parts(parts)
    )


def _parts(parts: Parts) -> dict[str, Any]:
    texts = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return {**texts, "vae": parts.vae, "scheduler": parts.scheduler, "transformer": parts.denoisers[""]}


def _arguments(pipeline: Any, shot: Shot) -> dict[str, Any]:
    width, height = shot.size_wh
    arguments: dict[str, Any] = {"height": height, "width": width, "num_frames": shot.frames}
    arguments |= {"guidance_scale": shot.guidance, "true_cfg_scale": shot.cfg_scale}
    for prefix, contents in (("", shot.text), ("negative_", shot.negative)):
        if contents is not None:
            arguments[f"{prefix}prompt_embeds"] = contents["llm"][None]
            arguments[f"{prefix}prompt_attention_mask"] = contents["llm_mask"][None]
            arguments[f"{prefix}pooled_prompt_embeds"] = contents["clipL"][None]
    return arguments


def _sized_arguments_15(pipeline: Any, shot: Shot) -> dict[str, Any]:
    width, height = shot.size_wh
    return {**_arguments_15(pipeline, shot), "height": height, "width": width}


def _image_arguments_15(pipeline: Any, shot: Shot) -> dict[str, Any]:
    width, height = shot.size_wh
    # The pipeline takes no size: it draws in the size that it thinks best for the picture, and the picture has the
    # shot's size already.
    pipeline.video_processor.calculate_default_height_width = lambda **_: (height, width)
    assert shot.features_ND is not None
    pipeline.encode_image = lambda **_: shot.features_ND[None]
    return {**_arguments_15(pipeline, shot), "image": shot.images()[0]}


def _arguments_15(pipeline: Any, shot: Shot) -> dict[str, Any]:
    from diffusers import ClassifierFreeGuidance

    pipeline.guider = ClassifierFreeGuidance(guidance_scale=shot.cfg_scale, enabled=shot.negative is not None)
    arguments: dict[str, Any] = {"num_frames": shot.frames}
    for prefix, contents in (("", shot.text), ("negative_", shot.negative)):
        if contents is not None:
            arguments[f"{prefix}prompt_embeds"], arguments[f"{prefix}prompt_embeds_mask"] = _rows(contents, "vl_embed")
            arguments[f"{prefix}prompt_embeds_2"], arguments[f"{prefix}prompt_embeds_mask_2"] = _rows(
                contents, "byt5_embed"
            )
    return arguments


def _rows(contents: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Return text rows (1, L, D) and their mask; no rows at all become one that is masked, which the pipeline can reshape."""
    rows_LD = contents[name]
    mask_L = torch.ones(len(rows_LD), dtype=torch.long, device=rows_LD.device)
    if not len(rows_LD):
        rows_LD, mask_L = F.pad(rows_LD, (0, 0, 0, 1)), F.pad(mask_L, (0, 1))
    return rows_LD[None], mask_L[None]
