"""A mask at training size: which tier each pixel is, where that can be told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.geometry import Geometry
from blissmask.dataset.pixel_mask import still_mask
from blissmask.masks.tiers import TIERS, TierTable, WeightTier
from tests.builders.pictures import tier_mask


def shares_of(grey_HW: NDArray[np.uint8], tiers: TierTable) -> NDArray[np.float32] | None:
    """Return the shares of a mask that is not resized."""
    size_wh = (grey_HW.shape[1], grey_HW.shape[0])
    shares_RfHW = still_mask(
        grey_HW.astype(np.float32) / 255, Geometry(size_wh, size_wh, (0, 0), size_wh), tiers
    ).shares_RfHW
    return None if shares_RfHW is None else shares_RfHW[:, 0]


def test_shares_are_one_plane_per_tier_and_sum_to_1() -> None:
    shares_RHW = shares_of(tier_mask(), TierTable())
    assert shares_RHW is not None
    assert shares_RHW.shape == (4, 32, 48)
    assert (shares_RHW.sum(axis=0) == 1).all()
    values = np.array(list(TierTable().as_dict().values()), dtype=np.float32)
    assert (np.tensordot(values, shares_RHW, 1) == tier_mask()).all()


def test_a_value_between_tiers_has_no_shares() -> None:
    grey_HW = tier_mask()
    grey_HW[0, 0] = 81
    assert shares_of(grey_HW, TierTable()) is None


def test_two_tiers_of_one_value_go_to_the_first() -> None:
    shares_RHW = shares_of(np.full((1, 1), 80, dtype=np.uint8), TierTable(body=80, hair=80))
    assert shares_RHW is not None
    assert shares_RHW[:, 0, 0].tolist() == [float(tier is WeightTier.BODY) for tier in TIERS]
