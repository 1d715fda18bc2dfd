"""The keys of the tensors in cache files: what each holds, on which grid, in which precision."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MASK_WEIGHTS = "mask_weights"
MASK_REGIONS = "mask_regions"
# Not `mask_weights_...`: the mask fork takes every key that starts so for the weights of the latent grid.
MASK_SUBCELLS = "mask_subcells"
MASK_SUBREGIONS = "mask_subregions"
MASK_SUBJECTS = "mask_subjects"
MASK_CONTENTS = frozenset({MASK_WEIGHTS, MASK_REGIONS, MASK_SUBCELLS, MASK_SUBREGIONS, MASK_SUBJECTS})
"""What an entry holds of its mask; everything else depends on the pixels alone."""
LATENTS = "latents"

_GRID = re.compile(r"(?:^|_)(\d+x\d+(?:x\d+)?)$")
_VARIABLE_LENGTH = "varlen_"
# torch's names of all dtypes that safetensors files can hold.
_DTYPES = frozenset(
    {"bool", "complex64", "bfloat16", "float16", "float32", "float64"}
    | {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
    | {f"float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")}
    | {"float4_e2m1fn_x2"}
)


class FrameAxis(Enum):
    """How the latents of a family are spelled in cache files, so that musubi-tuner's trainer of it reads them.

    Readers take all three, and get (C, F, H, W).
    """

    KEPT = "latents_FxHxW_DTYPE of shape (C, F, H, W)"
    NAMED = "latents_1xHxW_DTYPE of shape (C, H, W)"
    ABSENT = "latents_HxW_DTYPE of shape (C, H, W)"


@dataclass(frozen=True, slots=True)
class Key:
    """The parts of a tensor key.

    Attributes:
        content: ``latents``, ``mask_weights``, ``t5`` ...: the name used in batches and in :class:`CacheEntry`.
        grid: the ``FxHxW`` part, empty when there is none.
        variable_length: whether the first axis is the item's own length.
    """

    content: str
    grid: str = ""
    variable_length: bool = False


def grid_key(content: str, shape: tuple[int, ...], dtype: torch.dtype, frame_axis: FrameAxis = FrameAxis.KEPT) -> str:
    """Return the key of a tensor on the latent grid; its last three axes are latent frames, rows, columns."""
    frames, rows, columns = shape[-3:]
    grid = f"{rows}x{columns}" if frame_axis is FrameAxis.ABSENT else f"{frames}x{rows}x{columns}"
    return f"{content}_{grid}_{dtype_name(dtype)}"


def plain_key(content: str, dtype: torch.dtype, *, variable_length: bool = False) -> str:
    """Return the key of a tensor that is not on the latent grid."""
    prefix = _VARIABLE_LENGTH if variable_length else ""
    return f"{prefix}{content}" if content.endswith("_mask") else f"{prefix}{content}_{dtype_name(dtype)}"


def parse_key(key: str) -> Key:
    """Read a tensor key of ours, of musubi-tuner or of blissful-tuner.

    ``content`` of mask weights is ``mask_weights`` for each of the three spellings.
    """
    variable_length = key.startswith(_VARIABLE_LENGTH)
    rest = key.removeprefix(_VARIABLE_LENGTH)
    if not rest.endswith("_mask"):
        rest = _without_dtype(rest)
    grid = _GRID.search(rest) if rest.startswith((LATENTS, "mask_")) else None
    content = rest[: grid.start()] if grid else rest
    if content in ("latents_mask_weights", "mask_weights_mask"):
        content = MASK_WEIGHTS
    return Key(content, grid[1] if grid else "", variable_length)


def dtype_name(dtype: torch.dtype) -> str:
    """Return torch's own name of ``dtype``, e.g. ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


def _without_dtype(key: str) -> str:
    """Remove the longest dtype name at the end, so that ``x_float8_e4m3fn`` becomes ``x``."""
    parts = key.split("_")
    for start in range(1, len(parts)):
        if "_".join(parts[start:]) in _DTYPES:
            return "_".join(parts[:start])
    return key
