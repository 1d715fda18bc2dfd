"""Put masks together: labels become weights, subject masks remove bystanders. Arrays are (H, W)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.tiers import TIERS, TierTable, WeightTier

INSTANCE_THRESHOLD = 127
"""An instance mask pixel above this belongs to the subject (guide: binarised > 127)."""


def labels_to_grey(labels_HW: NDArray[np.uint8], tiers: TierTable, classes: Mapping[int, WeightTier]) -> NDArray[np.uint8]:
    """Turn class numbers into 8-bit tier values through ``classes`` (number -> tier); every number present must be in it."""
    lookup = np.zeros(256, dtype=np.uint8)
    for number, tier in classes.items():
        lookup[number] = tiers.value(tier)
    return lookup[labels_HW]


def tier_labels_to_grey(labels_HW: NDArray[np.uint8], tiers: TierTable) -> NDArray[np.uint8]:
    """Turn tier numbers (positions in ``TIERS``) into 8-bit tier values."""
    return labels_to_grey(labels_HW, tiers, dict(enumerate(TIERS)))


def keep_subject(grey_HW: NDArray[np.uint8], instance_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Set every pixel outside the binarised instance mask to 0; both arrays have the same shape."""
    return np.where(instance_HW > INSTANCE_THRESHOLD, grey_HW, np.uint8(0))


def region_shares(grey_HW: NDArray[np.uint8], tiers: TierTable) -> NDArray[np.float32] | None:
    """Return one 0/1 plane per tier, shape (4, H, W) in the order of ``TIERS``, or None when a pixel is off the tier values.

    Two tiers with one value cannot be told apart; the first in ``TIERS`` gets the pixels.
    """
    planes = np.zeros((len(TIERS), *grey_HW.shape), dtype=np.float32)
    unclaimed = np.ones(grey_HW.shape, dtype=bool)
    for plane, value in zip(planes, tiers.as_dict().values(), strict=True):
        here = unclaimed & (grey_HW == value)
        plane[here] = 1.0
        unclaimed &= ~here
    return None if unclaimed.any() else planes
