"""What a mask shows: heads, the subject's box, and how its weight is spread."""

import numpy as np
import pytest

from blissmask.masks.sight import Box, see, see_all
from blissmask.masks.tiers import TierTable

TIERS = TierTable()


def person(*lefts, size_wh=(400, 200)):
    """Return a mask of persons: hair above a face above a body, each 40 wide, with its left edge at ``lefts``."""
    width, height = size_wh
    grey = np.zeros((height, width), np.uint8)
    for left in lefts:
        grey[20:30, left : left + 40] = 80
        grey[30:60, left + 10 : left + 30] = 255
        grey[60:180, left : left + 40] = 128
    return grey


def shares(sight, *stretches):
    """Return the shares of the weight between two positions along the width."""
    starts, ends = zip(*stretches, strict=True)
    return sight.shares_between(0, np.array(starts), np.array(ends)).tolist()


def test_a_head_is_face_and_hair_together():
    [head] = see(person(100), TIERS).heads
    assert head.box == Box(100 / 400, 20 / 200, 140 / 400, 60 / 200)
    assert head.face == Box(110 / 400, 30 / 200, 130 / 400, 60 / 200)
    assert head.weight == pytest.approx((40 * 10 * 80 + 20 * 30 * 255) / 255 / (400 * 200))


def test_every_person_has_a_head_of_its_own():
    assert len(see(person(20, 200), TIERS).heads) == 2


def test_a_speck_is_no_head():
    mask = person(100)
    mask[190, 390] = 255
    assert len(see(mask, TIERS).heads) == 1


@pytest.mark.parametrize("size_wh", [(400, 200), (4000, 2000)])
def test_masks_of_all_sizes_say_the_same(size_wh):
    times = size_wh[0] // 400
    large = person(100).repeat(times, axis=0).repeat(times, axis=1)
    [head] = see(large, TIERS).heads
    assert head.box.left == pytest.approx(0.25, abs=0.005)
    assert head.box.bottom == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("values", [{0, 255}, {0, 255, 100}, {0, 128}])
def test_a_mask_that_does_not_tell_faces_shows_no_heads(values):
    mask = np.zeros((20, 20), np.uint8)
    for row, value in enumerate(sorted(values)):
        mask[row * 5 : row * 5 + 5] = value
    assert see(mask, TIERS).heads == ()


def test_a_mask_of_faces_alone_shows_heads():
    mask = np.zeros((20, 20), np.uint8)
    mask[5:10, 5:10] = 255
    assert len(see(mask, TierTable(body=0, hair=0)).heads) == 1


def test_faces_without_weight_are_no_heads():
    assert see(person(100), TierTable(face=0, body=128, hair=80)).heads == ()


def test_the_subject_is_what_weighs_more_than_the_background():
    mask = person(100)
    mask[mask == 0] = 20
    box = see(mask, TierTable(background=20)).subject
    assert (box.left, box.right) == pytest.approx((0.25, 0.35), abs=0.005)


def test_an_inverted_mask_shows_what_is_dark():
    mask = np.full((20, 20), 255, np.uint8)
    mask[:, 15:] = 0
    assert see(mask, TIERS, inverted=True).subject == Box(0.75, 0.0, 1.0, 1.0)


def test_an_empty_mask_shows_nothing():
    sight = see(np.zeros((20, 20), np.uint8), TIERS)
    assert (sight.subject, sight.heads, shares(sight, (0.0, 1.0))) == (None, (), [0.0])


def test_shares_of_the_weight_are_exact_between_two_columns():
    mask = np.zeros((10, 10), np.uint8)
    mask[:, 4:6] = 255
    assert shares(see(mask, TIERS), (0.0, 0.45), (0.4, 0.6), (0.7, 0.8)) == pytest.approx([0.25, 1.0, 0.0])


def test_several_masks_count_together():
    both = see_all([see(person(100), TIERS), see(person(200), TIERS)])
    assert (both.subject.left, both.subject.right, len(both.heads)) == (0.25, 0.6, 2)
    assert shares(both, (0.0, 0.4)) == pytest.approx([0.5])
