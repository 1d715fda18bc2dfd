"""Heads that the frame cuts are counted, and nothing else is."""

import numpy as np
import pytest

from blissmask.masks.heads import cut_heads
from blissmask.masks.tiers import TIERS, WeightTier

FACE, HAIR, BODY, BACKGROUND = (
    TIERS.index(tier) for tier in (WeightTier.FACE, WeightTier.HAIR, WeightTier.BODY, WeightTier.BACKGROUND)
)


def _picture(*heads, size=(100, 120)):
    """Return a tier map: bodies everywhere below, and heads of 30 x 30 whose corner (top, left) is given."""
    tiers = np.full(size, BACKGROUND, np.uint8)
    tiers[80:] = BODY
    for top, left in heads:
        for first, last, tier in ((top, top + 10, HAIR), (top + 10, top + 30, FACE)):
            tiers[max(0, first) : max(0, last), max(0, left) : max(0, left + 30)] = tier
    return tiers


@pytest.mark.parametrize(
    ("heads", "cut"),
    [
        ((), 0),
        (((20, 20),), 0),
        (((-12, 20),), 1),
        (((20, 105),), 1),
        (((-5, 5), (-5, 60)), 2),
        (((-5, 5), (30, 60)), 1),
    ],
    ids=["nobody", "whole", "above", "at the side", "both", "one of two"],
)
def test_heads_that_the_frame_cuts_are_counted(heads, cut):
    assert cut_heads(_picture(*heads)) == cut


def test_bodies_at_the_frame_are_no_heads():
    assert (_picture((20, 20))[-1] == BODY).all()
    assert cut_heads(_picture((20, 20))) == 0


def test_a_strand_of_hair_at_the_frame_cuts_no_head():
    tiers = _picture((20, 20))
    tiers[:20, 30:33] = HAIR
    assert cut_heads(tiers) == 0


def test_long_hair_that_runs_out_of_the_bottom_cuts_no_head():
    tiers = _picture((20, 20))
    tiers[30:, 50:70] = HAIR
    assert cut_heads(tiers) == 0


def test_a_face_that_runs_out_of_the_bottom_is_a_cut_head():
    assert cut_heads(_picture((80, 20))) == 1


def test_a_small_head_far_behind_is_not_counted():
    tiers = _picture((20, 20))
    tiers[:5, 90:95] = HAIR
    assert cut_heads(tiers) == 0


def test_a_large_picture_counts_the_same():
    assert cut_heads(np.kron(_picture((-12, 20)), np.ones((20, 20), np.uint8))) == 1
