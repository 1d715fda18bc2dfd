"""How Qwen-Image and its Edit models draw previews: diffusers' pipelines of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from blissmask.families.previews.pipeline import PreviewPipeline, euler_by_size, rows_and_mask, without_encoders
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.qwen import parts

_MAX_TOKENS = 1024
"""The most that diffusers' pipeline takes; as many as captions are read to."""
# The shift that grows with the size of the picture, and the noise level before the last step. Source of both: the
# scheduler configuration of the released Qwen-Image.
_SHIFT_BY_SIZE = {"base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256, "max_image_seq_len": 8192}
_TERMINAL = 0.02


def _scheduler(shift: float | None, steps: int) -> Any:
    """Return Euler's scheduler; without a shift the released one."""
    # A single step is first and last at once, and cannot be stretched to end at the terminal.
    terminal = _TERMINAL if steps > 1 else None
    return euler_by_size(shift, steps, by_size={**_SHIFT_BY_SIZE, "shift_terminal": terminal})


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    scale = prompt.settings.cfg_scale
    # The pipeline would cut text at 512 rows, training does not.
    return {**prompt.texts(_text), **prompt.size(), "true_cfg_scale": scale, "max_sequence_length": _MAX_TOKENS}


def _edit_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    _keep_precision_of_pictures(pipeline)
    return {**_arguments(pipeline, prompt), "image": prompt.images()[0]}


def _edit_plus_arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    _keep_precision_of_pictures(pipeline)
    return {**_arguments(pipeline, prompt), "image": prompt.images()}


def _keep_precision_of_pictures(pipeline: Any) -> None:
    """Return latents of control pictures in the denoiser's precision, as those of noise.

    diffusers 0.42's pipelines return them in the VAE's.
    """
    encode = pipeline._encode_vae_image

    def encode_and_cast(image: Tensor, generator: Any) -> Any:
        return encode(image, generator).to(image.dtype)

    pipeline._encode_vae_image = encode_and_cast


def _text(contents: Mapping[str, Tensor]) -> dict[str, Any]:
    return rows_and_mask(contents["vl_embed"])


TEXT_TO_IMAGE = PreviewPipeline(
    vae=parts.VAE,
    pipeline=partial(without_encoders, "QwenImagePipeline"),
    arguments=_arguments,
    scheduler=_scheduler,
    # Source: the Qwen-Image repository.
    cfg_scale=4.0,
    shift=None,
)
# The text of the Edit models, pictures included, is encoded by us: diffusers 0.42's own encoding gives picture tokens
# the positions of plain text.
EDIT = replace(
    TEXT_TO_IMAGE,
    pipeline=partial(without_encoders, "QwenImageEditPipeline"),
    arguments=_edit_arguments,
    pictures=(1, 1),
)
EDIT_PLUS = replace(
    TEXT_TO_IMAGE,
    pipeline=partial(without_encoders, "QwenImageEditPlusPipeline"),
    arguments=_edit_plus_arguments,
    pictures=parts.CONTROL_RANGE,
)
