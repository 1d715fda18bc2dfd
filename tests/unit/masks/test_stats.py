"""Numbers about one mask."""

from __future__ import annotations

import numpy as np
import pytest

from blissmask.masks.stats import measure
from blissmask.masks.tiers import TierTable, WeightTier


def test_coverage_and_mean_weight_are_measured() -> None:
    stats = measure(np.array([[255, 128, 80, 0]], dtype=np.uint8), TierTable())
    assert set(stats.coverage.values()) == {0.25}
    assert stats.off_tier == 0.0
    assert stats.mean_weight == pytest.approx((255 + 128 + 80) / 4 / 255)


def test_values_between_tiers_are_counted() -> None:
    assert measure(np.array([[255, 200, 199, 0]], dtype=np.uint8), TierTable()).off_tier == 0.5


def test_mask_of_zeros_is_empty_and_one_pixel_above_is_not() -> None:
    grey = np.zeros((4, 4), dtype=np.uint8)
    assert measure(grey, TierTable()).empty
    grey[0, 0] = 1
    assert not measure(grey, TierTable()).empty


def test_two_tiers_of_one_value_are_counted_once() -> None:
    stats = measure(np.full((2, 2), 80, dtype=np.uint8), TierTable(body=80, hair=80))
    assert stats.coverage[WeightTier.BODY] == 1.0
    assert stats.coverage[WeightTier.HAIR] == 0.0
