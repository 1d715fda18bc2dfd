"""How HunyuanVideo draws previews: diffusers' HunyuanVideoPipeline."""

from __future__ import annotations

from typing import Any

from blissmask.families.hunyuan import parts
from blissmask.families.previews import EncodedPrompt, PipelineParts, PreviewPipeline, euler


def _pipeline(loaded: PipelineParts) -> Any:
    from diffusers import HunyuanVideoPipeline

    texts = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return HunyuanVideoPipeline(**texts, vae=loaded.vae, scheduler=loaded.scheduler, transformer=loaded.denoisers[""])


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    width, height = prompt.settings.size_wh
    arguments: dict[str, Any] = {
        "height": height,
        "width": width,
        "num_frames": prompt.settings.frame_count,
        "guidance_scale": prompt.settings.guidance_scale,
        "true_cfg_scale": prompt.settings.cfg_scale,
    }
    for prefix, contents in (("", prompt.text), ("negative_", prompt.negative)):
        if contents is not None:
            arguments[f"{prefix}prompt_embeds"] = contents["llm"][None]
            arguments[f"{prefix}prompt_attention_mask"] = contents["llm_mask"][None]
            arguments[f"{prefix}pooled_prompt_embeds"] = contents["clipL"][None]
    return arguments


PREVIEW = PreviewPipeline(
    vae=parts.VAE,
    pipeline=_pipeline,
    arguments=_arguments,
    scheduler=euler,
    # Source of the defaults: the HunyuanVideo repository. The released model has its guidance embedded, so that it
    # predicts once per step.
    cfg_scale=1.0,
    shift=7.0,
    guidance_scale=6.0,
)
