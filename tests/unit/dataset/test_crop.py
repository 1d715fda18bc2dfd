"""Where the window stands: whole heads first, then weight, then the middle."""

from dataclasses import replace

import numpy as np
import pytest

from blissmask.dataset.crop import cuts, follow, has_choice
from blissmask.dataset.geometry import cover
from blissmask.masks.sight import Sight, see
from blissmask.masks.tiers import TierTable

SIZE = (64, 64)
CELL = 8


def mask(*persons, size_wh=(256, 64)):
    """Return a mask with persons given as (left, face width): hair around a face, above a body."""
    grey = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    for left, wide in persons:
        grey[4:8, left : left + wide] = 80
        grey[8:24, left : left + wide] = 255
        grey[24:64, left : left + wide] = 128
    return grey


def window(grey, size_wh=SIZE):
    """Return where the window starts along the longer side."""
    height, width = grey.shape
    left, top = follow(cover((width, height), size_wh), see(grey, TierTable()), cell=CELL).crop_xy
    return left or top


def test_a_subject_at_the_edge_is_kept_whole():
    assert window(mask((230, 20))) + SIZE[0] >= 250


def test_a_window_leaves_the_middle_no_farther_than_it_must():
    assert window(mask((110, 20))) == 96
    # The head ends at 180, a cell of room makes it 188, and windows stand on whole cells from the middle.
    assert window(mask((160, 20))) == 128


def test_a_head_is_worth_more_than_a_body():
    grey = mask((20, 10))
    grey[10:64, 150:250] = 128
    assert window(grey) <= 12


def test_of_two_heads_that_do_not_fit_none_is_cut():
    # Between them, a window would hold one and a half.
    left = window(mask((80, 30), (140, 30)))
    assert left + SIZE[0] <= 140 or left >= 110


def test_the_heavier_head_is_taken():
    assert window(mask((10, 12), (200, 30))) >= 166


def test_a_head_longer_than_the_window_keeps_its_face():
    grey = np.zeros((256, 64), np.uint8)
    grey[40:220, 10:50] = 80
    grey[60:100, 20:40] = 255
    top = window(grey)
    assert top <= 60 - 8
    assert top + SIZE[1] >= 100


def test_a_panorama_without_heads_follows_its_weight():
    grey = np.zeros((64, 256), np.uint8)
    grey[:, 10:60] = 255
    assert window(grey) <= 10


def test_an_empty_mask_leaves_the_window_in_the_middle():
    assert window(np.zeros((64, 256), np.uint8)) == 96


@pytest.mark.parametrize("size_wh", [(8000, 1), (1, 8000), (60_000, 1)])
def test_the_windows_of_a_strip_are_compared_at_once(monkeypatch, size_wh):
    # The first has 256,000 of them at this training size, which took 8 seconds one by one.
    asked = []
    between = Sight.shares_between
    monkeypatch.setattr(
        Sight, "shares_between", lambda sight, axis, *ends: asked.append(axis) or between(sight, axis, *ends)
    )
    grey = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    grey.reshape(-1)[: max(size_wh) // 2] = 255
    start = window(grey, (256, 256))
    assert asked == [0 if size_wh[0] > 1 else 1]
    assert 0 <= start < 256 * max(size_wh) // 2


def test_a_few_pixels_move_no_window():
    grey = mask((110, 20))
    grey[30, 255] = 128
    assert window(grey) == 96


def test_less_than_a_cell_of_room_is_no_choice():
    assert not has_choice(cover((71, 64), SIZE), cell=CELL)
    assert has_choice(cover((72, 64), SIZE), cell=CELL)


@pytest.mark.parametrize(("left", "cut"), [(0, True), (20, False), (200, False)])
def test_a_window_cuts_the_head_that_it_shows_in_part(left, cut):
    [head] = see(mask((40, 30)), TierTable()).heads
    assert cuts(replace(cover((256, 64), SIZE), crop_xy=(left, 0)), head.box) == cut
