"""Turn pictures into the input of Qwen2.5-VL's vision tower.

transformers' processor for this needs torchvision, which a CPU installation cannot rely on, so this is our own. Source
of the sizes and of the order of patches: transformers' Qwen2VLImageProcessor; the tests compare with it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Source of the numbers: transformers' Qwen2VLImageProcessor; those of the colours are OpenAI CLIP's.
PATCH = 14
_MERGE = 2
_TEMPORAL = 2
_STEP = PATCH * _MERGE
_MIN_PIXELS = 56 * 56
_MAX_PIXELS = 28 * 28 * 1280
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def condition_size(width: int, height: int, area: int) -> tuple[int, int]:
    """Return the (width, height) at which the text encoder sees a picture: about ``area`` pixels, multiples of 28.

    Source: the diffusers Edit pipelines (sides rounded to 32 at the given area), then Qwen2.5-VL's own rounding.
    """
    ratio = width / height
    wide, high = math.sqrt(area * ratio), math.sqrt(area / ratio)
    return _rounded(max(32, round(wide / 32) * 32), max(32, round(high / 32) * 32))


def vision_patches(image_3HW: Tensor, area: int) -> tuple[Tensor, Tensor]:
    """Return one picture's patches and their grid.

    Args:
        image_3HW: RGB in [-1, 1], any size.
        area: pixels to resize to, about.

    Returns:
        Patches (N, 1176), float32, in groups of 2 x 2 that the model merges into one token, and the grid (1, 3):
        frames, rows, columns.
    """
    width, height = condition_size(image_3HW.shape[2], image_3HW.shape[1], area)
    image_3HW = image_3HW.float()
    if image_3HW.shape[1:] != (height, width):
        image_3HW = F.interpolate(image_3HW[None], size=(height, width), mode="bicubic", antialias=True)[0].clamp(-1, 1)
    mean, std = (image_3HW.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
    normalised_3HW = (image_3HW * 0.5 + 0.5 - mean) / std
    rows, columns = height // PATCH, width // PATCH
    grouped = normalised_3HW.reshape(3, rows // _MERGE, _MERGE, PATCH, columns // _MERGE, _MERGE, PATCH).permute(
        1, 4, 2, 5, 0, 3, 6
    )
    # A picture is a video of two equal frames.
    twice = grouped.unsqueeze(5).expand(-1, -1, -1, -1, -1, _TEMPORAL, -1, -1)
    return twice.reshape(rows * columns, -1), torch.tensor([[1, rows, columns]])


def token_count(grid_13: Tensor) -> int:
    """Return how many tokens a picture of this grid becomes."""
    return int(grid_13.prod()) // _MERGE**2


def _rounded(width: int, height: int) -> tuple[int, int]:
    wide, high = round(width / _STEP) * _STEP, round(height / _STEP) * _STEP
    if wide * high > _MAX_PIXELS:
        shrink = math.sqrt(width * height / _MAX_PIXELS)
        wide, high = (max(_STEP, math.floor(side / shrink / _STEP) * _STEP) for side in (width, height))
    elif wide * high < _MIN_PIXELS:
        grow = math.sqrt(_MIN_PIXELS / (width * height))
        wide, high = (math.ceil(side * grow / _STEP) * _STEP for side in (width, height))
    return wide, high
