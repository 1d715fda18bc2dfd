"""How HunyuanVideo 1.5 draws previews: diffusers' HunyuanVideo15Pipeline and its image-to-video sister."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blissmask.families.encoders import siglip
from blissmask.families.hunyuan15 import parts
from blissmask.families.previews import EncodedPrompt, PictureEncoder, PipelineParts, PreviewPipeline, euler


def _pipeline(loaded: PipelineParts) -> Any:
    from diffusers import ClassifierFreeGuidance, HunyuanVideo15Pipeline

    return HunyuanVideo15Pipeline(guider=ClassifierFreeGuidance(), **_modules(loaded))


def _image_pipeline(loaded: PipelineParts) -> Any:
    from diffusers import ClassifierFreeGuidance, HunyuanVideo15ImageToVideoPipeline

    return HunyuanVideo15ImageToVideoPipeline(
        guider=ClassifierFreeGuidance(), image_encoder=None, feature_extractor=None, **_modules(loaded)
    )


def _modules(loaded: PipelineParts) -> dict[str, Any]:
    texts = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return {**texts, "vae": loaded.vae, "scheduler": loaded.scheduler, "transformer": loaded.denoisers[""]}


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    width, height = prompt.settings.size_wh
    return {**_text_arguments(pipeline, prompt), "height": height, "width": width}


def _image_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    width, height = prompt.settings.size_wh
    features_ND = prompt.features_ND
    assert features_ND is not None

    def own_size(**_: Any) -> tuple[int, int]:
        return height, width

    def known_features(**_: Any) -> Tensor:
        return features_ND[None]

    # diffusers 0.42's pipeline takes no size: it draws in the size that it thinks best for the picture, and the picture
    # has the size of the preview already. It has no argument for features either.
    pipeline.video_processor.calculate_default_height_width = own_size
    pipeline.encode_image = known_features
    return {**_text_arguments(pipeline, prompt), "image": prompt.images()[0]}


def _text_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    from diffusers import ClassifierFreeGuidance

    pipeline.guider = ClassifierFreeGuidance(
        guidance_scale=prompt.settings.cfg_scale, enabled=prompt.negative is not None
    )
    arguments: dict[str, Any] = {"num_frames": prompt.settings.frame_count}
    for prefix, contents in (("", prompt.text), ("negative_", prompt.negative)):
        if contents is None:
            continue
        for suffix, content in (("", "vl_embed"), ("_2", "byt5_embed")):
            rows_1LD, mask_1L = _rows(contents, content)
            arguments[f"{prefix}prompt_embeds{suffix}"] = rows_1LD
            arguments[f"{prefix}prompt_embeds_mask{suffix}"] = mask_1L
    return arguments


def _rows(contents: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Return text rows (1, L, D) and their mask; no rows become one masked row, which the pipeline can reshape."""
    rows_LD = contents[name]
    mask_L = torch.ones(len(rows_LD), dtype=torch.long, device=rows_LD.device)
    if not len(rows_LD):
        rows_LD, mask_L = F.pad(rows_LD, (0, 0, 0, 1)), F.pad(mask_L, (0, 1))
    return rows_LD[None], mask_L[None]


TEXT_TO_VIDEO = PreviewPipeline(
    vae=parts.VAE,
    pipeline=_pipeline,
    arguments=_arguments,
    scheduler=euler,
    # Source of the defaults: the HunyuanVideo-1.5 repository, at 480p.
    cfg_scale=6.0,
    shift=5.0,
)
IMAGE_TO_VIDEO = replace(
    TEXT_TO_VIDEO,
    pipeline=_image_pipeline,
    arguments=_image_arguments,
    pictures=(1, 1),
    picture_encoder=PictureEncoder(parts.SIGLIP, siglip.features),
)
