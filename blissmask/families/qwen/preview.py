"""How Qwen-Image and its Edit models draw previews: diffusers' pipelines of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from blissmask.families.previews import EncodedPrompt, PipelineParts, PreviewPipeline, euler
from blissmask.families.qwen import parts

_MAX_TOKENS = 1024
# The shift that grows with the size of the picture. Source: the scheduler configuration of the released Qwen-Image.
_SHIFT_BY_SIZE = {"base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256, "max_image_seq_len": 8192}
_TERMINAL = 0.02


def _scheduler(shift: float | None, steps: int) -> Any:
    """Return Euler's scheduler; without a shift the released one."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    if shift is not None:
        return euler(shift, steps)
    # A single step is first and last at once, and cannot be stretched to end at the terminal.
    terminal = _TERMINAL if steps > 1 else None
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=terminal, **_SHIFT_BY_SIZE)


def _pipeline(loaded: PipelineParts) -> Any:
    from diffusers import QwenImagePipeline

    return QwenImagePipeline(text_encoder=None, tokenizer=None, **_modules(loaded))


def _edit_pipeline(loaded: PipelineParts) -> Any:
    from diffusers import QwenImageEditPipeline

    return QwenImageEditPipeline(text_encoder=None, tokenizer=None, processor=None, **_modules(loaded))


def _edit_plus_pipeline(loaded: PipelineParts) -> Any:
    from diffusers import QwenImageEditPlusPipeline

    return QwenImageEditPlusPipeline(text_encoder=None, tokenizer=None, processor=None, **_modules(loaded))


def _modules(loaded: PipelineParts) -> dict[str, Any]:
    return {"vae": loaded.vae, "scheduler": loaded.scheduler, "transformer": loaded.denoisers[""]}


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    width, height = prompt.settings.size_wh
    embeds, mask = _text(prompt.text)
    arguments = {
        "prompt_embeds": embeds,
        "prompt_embeds_mask": mask,
        "true_cfg_scale": prompt.settings.cfg_scale,
        "height": height,
        "width": width,
    }
    if prompt.negative is not None:
        arguments["negative_prompt_embeds"], arguments["negative_prompt_embeds_mask"] = _text(prompt.negative)
    # The pipeline would cut text at 512 rows, training does not.
    return {**arguments, "max_sequence_length": _MAX_TOKENS}


def _edit_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    _encode_in_own_precision(pipeline)
    return {**_arguments(pipeline, prompt), "image": prompt.images()[0]}


def _edit_plus_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    _encode_in_own_precision(pipeline)
    return {**_arguments(pipeline, prompt), "image": prompt.images()}


def _encode_in_own_precision(pipeline: Any) -> None:
    """Let the VAE encode control pictures in its own precision.

    diffusers 0.42's pipelines encode them in the denoiser's precision, and break where the two differ.
    """
    encode, dtype = pipeline._encode_vae_image, pipeline.vae.dtype

    def encode_cast(image: Tensor, generator: Any) -> Any:
        return encode(image.to(dtype), generator).to(image.dtype)

    pipeline._encode_vae_image = encode_cast


def _text(contents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    rows_1LD = contents["vl_embed"][None]
    return rows_1LD, torch.ones(rows_1LD.shape[:2], dtype=torch.long, device=rows_1LD.device)


TEXT_TO_IMAGE = PreviewPipeline(
    vae=parts.VAE,
    pipeline=_pipeline,
    arguments=_arguments,
    scheduler=_scheduler,
    # Source: the Qwen-Image repository.
    cfg_scale=4.0,
    shift=None,
)
# The text of the Edit models, pictures included, is encoded by us: diffusers 0.42's own encoding gives picture tokens
# the positions of plain text.
EDIT = replace(TEXT_TO_IMAGE, pipeline=_edit_pipeline, arguments=_edit_arguments, pictures=(1, 1))
EDIT_PLUS = replace(
    TEXT_TO_IMAGE, pipeline=_edit_plus_pipeline, arguments=_edit_plus_arguments, pictures=parts.CONTROL_RANGE
)
