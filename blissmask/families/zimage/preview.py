"""How Z-Image draws previews: diffusers' ZImagePipeline."""

from __future__ import annotations

from functools import partial
from typing import Any

from blissmask.families.previews import EncodedPrompt, PreviewPipeline, euler, without_texts
from blissmask.families.zimage import parts


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    width, height = prompt.settings.size_wh
    return {
        "prompt_embeds": [prompt.text["llm_embed"]],
        "negative_prompt_embeds": None if prompt.negative is None else [prompt.negative["llm_embed"]],
        # The pipeline adds this times the difference to the prediction, where others add one less.
        "guidance_scale": prompt.settings.cfg_scale - 1,
        "height": height,
        "width": width,
    }


PREVIEW = PreviewPipeline(
    vae=parts.VAE,
    pipeline=partial(without_texts, "ZImagePipeline"),
    arguments=_arguments,
    scheduler=euler,
    # Source of the defaults: the Z-Image repository, whose guidance of 4 is 5 here, and the scheduler of Base.
    cfg_scale=5.0,
    shift=6.0,
)
