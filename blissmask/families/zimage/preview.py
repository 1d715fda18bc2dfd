"""How Z-Image draws previews: diffusers' ZImagePipeline."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from blissmask.families.previews.pipeline import PreviewPipeline, euler, without_encoders
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.zimage import parts


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    # The pipeline adds this times the difference to the prediction, where others add one less.
    guidance_scale = prompt.settings.cfg_scale - 1
    return {**prompt.texts(_text), **prompt.size(), "guidance_scale": guidance_scale}


def _text(contents: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"prompt_embeds": [contents["llm_embed"]]}


PREVIEW = PreviewPipeline(
    vae=parts.VAE,
    pipeline=partial(without_encoders, "ZImagePipeline"),
    arguments=_arguments,
    scheduler=euler,
    # Source of the defaults: the Z-Image repository, whose guidance of 4 is 5 here, and the scheduler of Base.
    cfg_scale=5.0,
    shift=6.0,
)
