"""A mask at training size: which tier each pixel is, where that can be told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.geometry import Geometry
from blissmask.dataset.pixel_mask import moving_mask, several_mask, still_mask
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


KYLA = np.array([[255, 255, 0, 0], [128, 128, 0, 0]], dtype=np.uint8)
TOM = np.array([[0, 128, 255, 0], [0, 128, 128, 0]], dtype=np.uint8)
AS_IT_IS = Geometry((4, 2), (4, 2), (0, 0), (4, 2))


def test_the_mask_of_several_is_the_maximum_and_the_shares_of_each_are_those_of_the_own_mask() -> None:
    mask = several_mask([KYLA, None, TOM], AS_IT_IS, TierTable())
    assert (mask.weights_fHW[0] * 255).tolist() == [[255, 255, 255, 0], [128, 128, 128, 0]]
    assert mask.subject_shares_SRfHW is not None
    for own, shares_RfHW in ((KYLA, mask.subject_shares_SRfHW[0]), (TOM, mask.subject_shares_SRfHW[2])):
        assert (shares_RfHW[:, 0] == shares_of(own, TierTable())).all()
    shares_Qfhw = mask.subjects_on_grid((1, 2))
    assert shares_Qfhw is not None
    # Of cells of 2 x 2 pixels; who has no mask is nowhere, not all background.
    assert shares_Qfhw[:, 0, 0].tolist() == [
        [0.5, 0.0],
        [0.5, 0.0],
        [0.0, 0.0],
        [0.0, 1.0],
        *[[0.0, 0.0]] * 4,
        [0.0, 0.25],
        [0.5, 0.25],
        [0.0, 0.0],
        [0.5, 0.5],
    ]


def test_where_dark_counts_the_mask_of_several_is_the_minimum() -> None:
    mask = several_mask([255 - KYLA, 255 - TOM], AS_IT_IS, TierTable(body=127), inverted=True)
    assert (mask.weights_fHW[0] * 255).round().tolist() == [[255, 255, 255, 0], [128, 128, 128, 0]]


def test_masks_of_8_and_of_16_bits_have_one_scale_in_their_maximum() -> None:
    mask = several_mask([KYLA, TOM.astype(np.uint16) * 257], AS_IT_IS, TierTable())
    assert (mask.weights_fHW[0] * 255).round().tolist() == [[255, 255, 255, 0], [128, 128, 128, 0]]
    assert mask.subject_shares_SRfHW is not None


def test_a_value_of_no_tier_below_the_maximum_leaves_nothing_to_tell_subjects_apart() -> None:
    odd = np.where(KYLA == 255, 100, 0).astype(np.uint8)
    mask = several_mask([KYLA, odd], AS_IT_IS, TierTable())
    assert mask.shares_RfHW is not None
    assert mask.subject_shares_SRfHW is None


def test_who_is_in_one_frame_of_a_clip_has_background_in_the_others() -> None:
    stills = [several_mask([KYLA, TOM if number == 0 else None], AS_IT_IS, TierTable()) for number in range(5)]
    shares_Qfhw = moving_mask(stills, 5, 4).subjects_on_grid((1, 2))
    assert shares_Qfhw is not None
    assert shares_Qfhw.shape == (8, 2, 1, 2)
    assert shares_Qfhw[4:, 0, 0].tolist() == [[0.0, 0.25], [0.5, 0.25], [0.0, 0.0], [0.5, 0.5]]
    assert shares_Qfhw[4:, 1, 0].tolist() == [[0.0, 0.0]] * 3 + [[1.0, 1.0]]
