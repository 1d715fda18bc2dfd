"""Labels become tiers, and subject masks remove bystanders."""

from __future__ import annotations

import numpy as np

from blissmask.masks.combine import keep_subject, labels_to_grey, tier_labels_to_grey
from blissmask.masks.tiers import TierTable, WeightTier


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
