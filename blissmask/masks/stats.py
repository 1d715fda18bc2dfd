"""Numbers about a mask: how much of it is what. Arrays are (H, W)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.tiers import TierTable, WeightTier


@dataclass(frozen=True, slots=True)
class MaskStats:
    """What one 8-bit mask holds.

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


def measure(grey_HW: NDArray[np.uint8], tiers: TierTable) -> MaskStats:
    """Measure an 8-bit mask against a tier table."""
    counts = np.bincount(grey_HW.reshape(-1), minlength=256)
    pixels = max(1, grey_HW.size)
    coverage, seen = {}, set()
    for tier, value in tiers.as_dict().items():
        coverage[tier] = 0.0 if value in seen else float(counts[value]) / pixels
        seen.add(value)
    mean_weight = float(counts @ np.arange(256)) / pixels / 255
    return MaskStats(coverage, max(0.0, 1.0 - sum(coverage.values())), mean_weight)
