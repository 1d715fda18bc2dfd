"""Resize mask weights: area average when shrinking, nearest when growing.

No other filter is used: it would invent values between two tiers. H, W: rows and columns. Sizes are (width, height).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ASPECT_TOLERANCE = 0.01
"""Largest relative difference of two aspect ratios that still counts as the same framing.

The limit of promise 12 in tests/README.md: image and mask stay aligned.
"""


def resize_weights(weights_HW: NDArray[np.float32], size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """Resize to ``size_wh``: area averaging when shrinking, nearest (centre-aligned) when growing.

    An axis that shrinks is averaged and an axis that grows is repeated, so a mixed resize is done in two steps.

    Args:
        weights_HW: float32 weights in [0, 1].
        size_wh: target (width, height), both >= 1.

    Returns:
        float32, shape (height, width), within the range of the input; the input itself where it has that size.
    """
    height, width = weights_HW.shape
    if (width, height) == size_wh:
        return weights_HW
    shrunk_wh = (min(width, size_wh[0]), min(height, size_wh[1]))
    result = weights_HW
    if shrunk_wh != (width, height):
        result = cv2.resize(result, shrunk_wh, interpolation=cv2.INTER_AREA)
    if shrunk_wh != size_wh:
        result = cv2.resize(result, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    # OpenCV's average of equal values can be off by one rounding step, and no weight may be above 1.
    return np.clip(result, weights_HW.min(), weights_HW.max()).astype(np.float32, copy=False)


def resize_labels(labels_HW: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize grey values or labels to ``size_wh`` with nearest only, so that no new value appears."""
    if labels_HW.shape == size_wh[::-1]:
        return labels_HW
    return np.asarray(cv2.resize(labels_HW, size_wh, interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def aspect_difference(first_wh: tuple[int, int], second_wh: tuple[int, int]) -> float:
    """Return the relative difference of two aspect ratios, 0 when equal, 0.04 for 4 percent; symmetric."""
    first, second = first_wh[0] * second_wh[1], second_wh[0] * first_wh[1]
    # The products are whole numbers, so that exactly 1 percent does not become more than 1 percent by rounding.
    return abs(first - second) / min(first, second)


def same_framing(first_wh: tuple[int, int], second_wh: tuple[int, int]) -> bool:
    """Return whether two sizes can show the same framing: aspect within 1 percent, or within one pixel of rounding."""
    if aspect_difference(first_wh, second_wh) <= ASPECT_TOLERANCE:
        return True
    small_wh, large_wh = sorted((first_wh, second_wh))
    scale = max(large_wh[0] / small_wh[0], large_wh[1] / small_wh[1])
    return abs(large_wh[0] - small_wh[0] * scale) < scale and abs(large_wh[1] - small_wh[1] * scale) < scale
