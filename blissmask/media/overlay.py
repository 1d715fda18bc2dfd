"""Draw mask weights: coloured over the photo, and as the latent grid will hold them.

People with any kind of colour vision can distinguish the colours: Okabe and Ito's set for tiers, OpenCV's cividis for
weights. H, W: rows and columns; 3 = RGB. Sizes are (width, height).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.masks.latent import to_latent_grid
from blissmask.masks.resize import resize_labels, resize_weights
from blissmask.masks.tiers import TierTable, WeightTier
from blissmask.masks.weighted_mask import INSTANCE_THRESHOLD

Colour = tuple[int, int, int]

TIER_COLOURS: Mapping[WeightTier, Colour] = {
    WeightTier.FACE: (213, 94, 0),
    WeightTier.HAIR: (240, 228, 66),
    WeightTier.BODY: (86, 180, 233),
}
"""Background has no colour: it is darkened."""

SUBJECT_COLOUR: Colour = (0, 158, 115)
LATENT_STRIDE = 8
"""Side of a latent cell of most families, in pixels."""
_BUCKET_STEP = 16
"""Training sizes of most families are multiples of this."""
_TINT = 0.45
"""Share of the tier's colour in a tinted pixel."""
_DIMMED = 0.35
"""Brightness that darkened pixels keep."""


def fit_size(size_wh: tuple[int, int], box_wh: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of the same aspect ratio that fits into a box, at most the original and at least 1."""
    scale = min(1.0, box_wh[0] / size_wh[0], box_wh[1] / size_wh[1])
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def shrink(rgb_HW3: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the photo averaged down to ``size_wh``."""
    return np.asarray(cv2.resize(rgb_HW3, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def overlay_tiers(rgb_HW3: NDArray[np.uint8], grey_HW: NDArray[np.uint8], tiers: TierTable) -> NDArray[np.uint8]:
    """Tint a photo by tier, darken the background, and draw the borders between tiers.

    A value between tiers (a feathered mask, or one of another tool) takes the colour of the nearest tier.

    Args:
        rgb_HW3: the photo at the size at which it is shown.
        grey_HW: its mask, 8-bit, of any size.
        tiers: the value of each tier.
    """
    height, width = rgb_HW3.shape[:2]
    grey_HW = resize_labels(grey_HW, (width, height))
    values = np.array(list(tiers.as_dict().values()), dtype=np.int16)
    distance = np.abs(grey_HW[..., None].astype(np.int16) - values)
    nearest_HW = distance.argmin(axis=-1).astype(np.uint8)
    shown = rgb_HW3.astype(np.float32)
    for number, tier in enumerate(tiers.as_dict()):
        here = nearest_HW == number
        colour = TIER_COLOURS.get(tier)
        if colour is None:
            shown[here] *= _DIMMED
        else:
            shown[here] = shown[here] * (1 - _TINT) + np.array(colour, dtype=np.float32) * _TINT
    shown[_borders(nearest_HW)] = 255
    return np.rint(shown).astype(np.uint8)


def overlay_subject(rgb_HW3: NDArray[np.uint8], grey_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tint the subject of a photo and darken all other pixels; arguments as for :func:`overlay_tiers`."""
    height, width = rgb_HW3.shape[:2]
    subject_HW = resize_labels(grey_HW, (width, height)) > INSTANCE_THRESHOLD
    shown = rgb_HW3.astype(np.float32) * np.where(subject_HW, 1 - _TINT / 2, _DIMMED)[..., None].astype(np.float32)
    shown[subject_HW] += np.array(SUBJECT_COLOUR, dtype=np.float32) * (_TINT / 2)
    shown[_borders(subject_HW.astype(np.uint8))] = 255
    return np.rint(shown).astype(np.uint8)


def latent_grid(weights_HW: NDArray[np.float32], area: int, *, stride: int = LATENT_STRIDE) -> NDArray[np.float32]:
    """Return the weights on the latent grid of a training at ``area`` pixels, without the crop to a bucket.

    Args:
        weights_HW: mask weights at the photo's size.
        area: width times height of the training resolution, in pixels.
        stride: side of a latent cell, in pixels.
    """
    height, width = weights_HW.shape
    scale = math.sqrt(area / (width * height))
    step = max(_BUCKET_STEP, stride)
    trained_wh = (max(step, round(width * scale / step) * step), max(step, round(height * scale / step) * step))
    trained = resize_weights(weights_HW, trained_wh)
    return to_latent_grid(trained, (trained_wh[1] // stride, trained_wh[0] // stride))


def colour_weights(weights_hw: NDArray[np.float32], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw weights as colours from dark blue (0) to yellow (1), each cell a block, at ``size_wh``."""
    grey = np.rint(weights_hw.clip(0, 1) * 255).astype(np.uint8)
    coloured = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
    shrinks = size_wh[0] < grey.shape[1] or size_wh[1] < grey.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(coloured, size_wh, interpolation=method), dtype=np.uint8)


def _borders(numbers_HW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which pixels have another number to the right or below."""
    borders = np.zeros(numbers_HW.shape, dtype=np.bool_)
    borders[:, :-1] |= numbers_HW[:, :-1] != numbers_HW[:, 1:]
    borders[:-1] |= numbers_HW[:-1] != numbers_HW[1:]
    return borders
