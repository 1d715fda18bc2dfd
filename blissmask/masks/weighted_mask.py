"""Weighted masks, 8 bits per pixel: made from labels, cut to the subject, measured. Arrays are (H, W)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.components import strips
from blissmask.masks.tiers import MAX_VALUE, TIERS, TierTable, WeightTier

INSTANCE_THRESHOLD = 127
"""An instance mask pixel above this belongs to the subject (guide: binarised > 127)."""


@dataclass(frozen=True, slots=True)
class MaskStats:
    """How much of one 8-bit mask is which tier.

    Attributes:
        coverage: share of the pixels at each tier's value, 0..1.
        off_tier: share of the pixels at no tier's value.
        mean_weight: mean mask weight, 0..1.
    """

    coverage: dict[WeightTier, float]
    off_tier: float
    mean_weight: float

    @property
    def empty(self) -> bool:
        """Return whether the mask is zero everywhere, so that nothing would be learned from the picture."""
        return self.mean_weight == 0.0


def labels_to_grey(
    labels_HW: NDArray[np.uint8], tiers: TierTable, classes: Mapping[int, WeightTier]
) -> NDArray[np.uint8]:
    """Turn class numbers into 8-bit tier values.

    Args:
        labels_HW: class numbers.
        tiers: the value of each tier.
        classes: the tier of each class number; it must hold every number that occurs.
    """
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


def count_values(grey_HW: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many pixels have each value, (256,)."""
    counts = np.zeros(MAX_VALUE + 1, np.int64)
    # `bincount` makes eight bytes of every pixel that it is given: of a mask of 12000 x 12000 a gigabyte.
    for rows in strips(grey_HW.shape):
        counts += np.bincount(grey_HW[rows].reshape(-1), minlength=counts.size)
    return counts


def measure(grey_HW: NDArray[np.uint8], tiers: TierTable) -> MaskStats:
    """Measure an 8-bit mask against a tier table; where two tiers share a value, the first one gets its pixels."""
    counts = count_values(grey_HW)
    pixels = max(1, grey_HW.size)
    coverage: dict[WeightTier, float] = {}
    seen: set[int] = set()
    for tier, value in tiers.as_dict().items():
        coverage[tier] = 0.0 if value in seen else float(counts[value]) / pixels
        seen.add(value)
    # Rounding can bring the sum of the shares slightly above 1.
    off_tier = max(0.0, 1.0 - sum(coverage.values()))
    mean_weight = float(counts @ np.arange(256)) / pixels / MAX_VALUE
    return MaskStats(coverage=coverage, off_tier=off_tier, mean_weight=mean_weight)
