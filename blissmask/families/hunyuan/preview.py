"""How HunyuanVideo draws previews: diffusers' HunyuanVideoPipeline."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from blissmask.families.previews.pipeline import PreviewPipeline, euler, without_encoders
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.vae.hunyuan import VAE


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    return {
        **prompt.texts(_text),
        **prompt.size(),
        "num_frames": prompt.settings.frame_count,
        "guidance_scale": prompt.settings.guidance_scale,
        "true_cfg_scale": prompt.settings.cfg_scale,
    }


def _text(contents: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "prompt_embeds": contents["llm"][None],
        "prompt_attention_mask": contents["llm_mask"][None],
        "pooled_prompt_embeds": contents["clipL"][None],
    }


PREVIEW = PreviewPipeline(
    vae=VAE,
    pipeline=partial(without_encoders, "HunyuanVideoPipeline"),
    arguments=_arguments,
    scheduler=euler,
    # Source of the defaults: the HunyuanVideo repository. The released model has its guidance embedded, so that it
    # predicts once per step.
    cfg_scale=1.0,
    shift=7.0,
    guidance_scale=6.0,
)
