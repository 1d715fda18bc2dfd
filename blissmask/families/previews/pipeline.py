"""What a family declares of its previews: its diffusers pipeline for a task, with scheduler and defaults.

H and W rows and columns; 3 = RGB. N rows of a picture's features, D their width; L rows of a text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blissmask.families.files.part import Part
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.vae.pixels import signed_picture


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """What a pipeline is built from besides its class.

    Attributes:
        denoisers: expert name (``""`` for the only one) -> module.
        vae: with its decoder.
        scheduler: with the shift of the prompt.
    """

    denoisers: Mapping[str, Any]
    vae: Any
    scheduler: Any


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """The encoder of a first frame besides the VAE.

    Attributes:
        part: the encoder.
        read: returns features_BND of pictures_B3HW in [-1, 1].
    """

    part: Part
    read: Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPipeline:
    """A family's diffusers pipeline for a task, and the settings of a prompt that leaves them open.

    Attributes:
        vae: encodes and decodes.
        pipeline: builds the pipeline, without text encoders.
        arguments: returns the arguments to call the pipeline with for a prompt, whose tensors are on the device; may
            adapt the pipeline to the prompt.
        scheduler: returns the scheduler for a shift and a number of steps.
        cfg_scale, guidance_scale, shift: defaults, see :class:`PreviewSettings`.
        pictures: fewest and most pictures of a prompt.
        picture_encoder: None where the VAE sees enough.
        takes_negatives: whether it can be guided by a negative prompt, with ``cfg_scale`` above 1.
    """

    vae: Part
    pipeline: Callable[[PipelineParts], Any]
    arguments: Callable[[Any, EncodedPrompt], dict[str, Any]]
    scheduler: Callable[[float | None, int], Any]
    cfg_scale: float
    shift: float | None
    guidance_scale: float | None = None
    pictures: tuple[int, int] = (0, 0)
    picture_encoder: PictureEncoder | None = None
    takes_negatives: bool = True


def without_encoders(pipeline_class: str, loaded: PipelineParts, **more: Any) -> Any:
    """Return diffusers' pipeline of a class without what encodes texts and pictures: prompts come encoded.

    Args:
        pipeline_class: name of the class.
        loaded: VAE, scheduler and denoisers.
        more: further arguments of the class; ``transformer`` where the family has not just one denoiser.
    """
    import diffusers

    make = getattr(diffusers, pipeline_class)
    required = [name for name, part in inspect.signature(make).parameters.items() if part.default is part.empty]
    given = {"vae": loaded.vae, "scheduler": loaded.scheduler, "transformer": loaded.denoisers.get(""), **more}
    return make(**{**dict.fromkeys(required), **given})


def rows_and_mask(rows_LD: Tensor, *, suffix: str = "") -> dict[str, Tensor]:
    """Return a text as ``prompt_embeds`` (1, L, D) and ``prompt_embeds_mask`` (1, L), for pipelines that take both.

    Args:
        rows_LD: of the text. One row of zeros stands for a text without rows, and is masked: no pipeline can reshape
            nothing.
        suffix: of both names, for the second of two texts.
    """
    is_empty = len(rows_LD) == 0
    if is_empty:
        rows_LD = rows_LD.new_zeros(1, rows_LD.shape[1])
    mask_1L = torch.full((1, len(rows_LD)), int(not is_empty), device=rows_LD.device)
    return {f"prompt_embeds{suffix}": rows_LD[None], f"prompt_embeds_mask{suffix}": mask_1L}


def euler(shift: float | None, steps: int) -> Any:
    """Return Euler's scheduler for a fixed shift."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    assert shift is not None
    return FlowMatchEulerDiscreteScheduler(shift=shift)


def euler_by_size(shift: float | None, steps: int, *, by_size: Mapping[str, Any] | None = None) -> Any:
    """Return Euler's scheduler; without a shift one whose shift the pipeline derives from the size of the picture.

    Args:
        shift, steps: as for every scheduler.
        by_size: settings of the shift by size, in the names of ``FlowMatchEulerDiscreteScheduler``.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    if shift is not None:
        return euler(shift, steps)
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **(by_size or {}))


def unipc(shift: float | None, steps: int) -> Any:
    """Return a multistep scheduler for a fixed shift: good pictures in 20 steps."""
    from diffusers import UniPCMultistepScheduler

    assert shift is not None
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def encode_picture(encoder: PictureEncoder, model: Any, rgb_HW3: NDArray[np.uint8]) -> Tensor:
    """Return features_ND of one picture, on the CPU."""
    device = next(model.parameters()).device
    pixels_3HW = signed_picture(rgb_HW3).to(device)
    with torch.inference_mode():
        return encoder.read(model, pixels_3HW[None])[0].cpu()
