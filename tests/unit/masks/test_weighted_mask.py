"""Labels become tiers, subject masks remove bystanders, and masks are measured."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from blissmask.masks.tiers import TierTable, WeightTier
from blissmask.masks.weighted_mask import keep_subject, labels_to_grey, measure, tier_labels_to_grey


def test_every_class_takes_the_value_of_its_tier() -> None:
    labels = np.array([[0, 1, 2, 5]], dtype=np.uint8)
    classes = {0: WeightTier.BACKGROUND, 1: WeightTier.HAIR, 2: WeightTier.BODY, 5: WeightTier.FACE}
    assert labels_to_grey(labels, TierTable(hair=90), classes).tolist() == [[0, 90, 128, 255]]


def test_tier_numbers_are_positions_in_tiers() -> None:
    assert tier_labels_to_grey(np.array([[0, 1, 2, 3]], dtype=np.uint8), TierTable()).tolist() == [[255, 128, 80, 0]]


def test_instance_pixels_above_127_stay() -> None:
    grey = np.array([[255, 128, 80, 255]], dtype=np.uint8)
    instance = np.array([[255, 128, 127, 0]], dtype=np.uint8)
    assert keep_subject(grey, instance).tolist() == [[255, 128, 0, 0]]


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


def test_every_pixel_of_a_large_mask_is_counted_with_little_memory_meanwhile() -> None:
    """A mask of 144 megapixels took a gigabyte more for each stroke of the retouch page."""
    grey = np.full((1500, 3000), 128, dtype=np.uint8)
    grey[-1] = 255
    tracemalloc.start()
    try:
        stats = measure(grey, TierTable())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stats.coverage[WeightTier.FACE] == 1 / 1500
    assert stats.coverage[WeightTier.BODY] == 1499 / 1500
    assert peak < 3 * grey.size
