"""Put masks together: labels become weights, subject masks remove bystanders. Arrays are (H, W)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.tiers import TIERS, TierTable, WeightTier

INSTANCE_THRESHOLD = 127
"""An instance mask pixel above this belongs to the subject (guide: binarised > 127)."""


def labels_to_grey(
    labels_HW: NDArray[np.uint8], tiers: TierTable, classes: Mapping[int, WeightTier]
) -> NDArray[np.uint8]:
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
