"""Draw mask weights: coloured over the photo, and as the latent grid will hold them.

People with any kind of colour vision can distinguish the colours: Okabe and Ito's set for tiers, OpenCV's cividis for
weights. H, W: rows and columns; 3 = RGB. Sizes are (width, height).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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
BYSTANDER_COLOUR: Colour = (204, 121, 167)
LATENT_STRIDE = 8
"""Side of a latent cell of most families, in pixels."""
_BUCKET_STEP = 16
"""Training sizes of most families are multiples of this."""
TINT = 0.4
"""Share of the label's colour in a tinted pixel."""
DIMMED = 0.35
"""Brightness that darkened pixels keep."""
PLAIN = 255
"""The label of pixels that are shown as they are: of photos without a mask."""


def fit_size(size_wh: tuple[int, int], box_wh: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of the same aspect ratio that fits into a box, at most the original and at least 1."""
    scale = min(1.0, box_wh[0] / size_wh[0], box_wh[1] / size_wh[1])
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def shrink(rgb_HW3: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the photo averaged down to ``size_wh``."""
    return np.asarray(cv2.resize(rgb_HW3, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def tier_label(tier: WeightTier) -> int:
    """Return the label of a tier: 0 for background, else the position in :data:`TIER_COLOURS`, from 1."""
    return list(TIER_COLOURS).index(tier) + 1 if tier in TIER_COLOURS else 0


def tier_labels(grey_HW: NDArray[np.uint8], size_wh: tuple[int, int], tiers: TierTable) -> NDArray[np.uint8]:
    """Return the label of every pixel, see :func:`tier_label`.

    A value between tiers (a feathered mask, or one of another tool) gets the label of the nearest tier.

    Args:
        grey_HW: the mask, 8-bit, of any size.
        size_wh: the size at which it is shown.
        tiers: the value of each tier.
    """
    distance = np.abs(np.arange(256, dtype=np.int16)[:, None] - np.array(list(tiers.as_dict().values()), np.int16))
    labels = np.array([tier_label(tier) for tier in tiers.as_dict()], dtype=np.uint8)
    label_of_grey = labels[distance.argmin(axis=1)]
    return np.asarray(label_of_grey[resize_labels(grey_HW, size_wh)], dtype=np.uint8)


def subject_labels(grey_HW: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return 1 on the subject of an 8-bit subject mask and 0 elsewhere; arguments as for :func:`tier_labels`."""
    return (resize_labels(grey_HW, size_wh) > INSTANCE_THRESHOLD).astype(np.uint8)


def draw_labels(
    rgb_HW3: NDArray[np.uint8], labels_HW: NDArray[np.uint8], colours: Sequence[Colour]
) -> NDArray[np.uint8]:
    """Tint a photo by label, darken what has label 0, and outline every label.

    An outline is white with black on both sides: it stands out from pale skin and from dark hair alike, with a contrast
    of at least 7.6 to 1 (``tests/unit/media/test_outline.py``). The HTML page draws the same in ``sheet.js``.

    Args:
        rgb_HW3: the photo at the size at which it is shown.
        labels_HW: see ``sheets.card.Card``.
        colours: of the labels, from 1.
    """
    shown = rgb_HW3.astype(np.float32)
    shown[labels_HW == 0] *= DIMMED
    for label, colour in enumerate(colours, 1):
        here = labels_HW == label
        shown[here] = shown[here] * (1 - TINT) + np.array(colour, dtype=np.float32) * TINT
    line_HW = _borders(labels_HW)
    shown[cv2.dilate(line_HW.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] *= DIMMED
    shown[line_HW] = 255
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
