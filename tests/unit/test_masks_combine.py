"""Labels become tiers, and subject masks remove bystanders."""

from __future__ import annotations

import numpy as np

from blissmask.masks.combine import keep_subject, labels_to_grey, region_shares, tier_labels_to_grey
from blissmask.masks.tiers import TIERS, TierTable, WeightTier
from tests.builders import tier_mask


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


def test_region_shares_are_one_plane_per_tier_and_sum_to_1() -> None:
    shares = region_shares(tier_mask(), TierTable())
    assert shares is not None
    assert shares.shape == (4, 32, 48)
    assert (shares.sum(axis=0) == 1).all()
    values = np.array(list(TierTable().as_dict().values()), dtype=np.float32)
    assert (np.tensordot(values, shares, 1) == tier_mask()).all()


def test_a_value_between_tiers_has_no_region_shares() -> None:
    grey = tier_mask()
    grey[0, 0] = 81
    assert region_shares(grey, TierTable()) is None


def test_two_tiers_of_one_value_go_to_the_first() -> None:
    shares = region_shares(np.full((1, 1), 80, dtype=np.uint8), TierTable(body=80, hair=80))
    assert shares is not None
    assert shares[:, 0, 0].tolist() == [float(tier is WeightTier.BODY) for tier in TIERS]
