"""How Z-Image draws previews: diffusers' ZImagePipeline."""

from __future__ import annotations

from typing import Any

from blissmask.families.previews import EncodedPrompt, PipelineParts, PreviewPipeline, euler
from blissmask.families.zimage import parts


def _pipeline(loaded: PipelineParts) -> Any:
    from diffusers import ZImagePipeline

    return ZImagePipeline(
        text_encoder=None,
        tokenizer=None,
        vae=loaded.vae,
        scheduler=loaded.scheduler,
        transformer=loaded.denoisers[""],
    )


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
    pipeline=_pipeline,
    arguments=_arguments,
    scheduler=euler,
    # Source of the defaults: the Z-Image repository, whose guidance of 4 is 5 here, and the scheduler of Base.
    cfg_scale=5.0,
    shift=6.0,
)
