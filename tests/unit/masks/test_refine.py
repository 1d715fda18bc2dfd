"""Outlines: holes, specks, growing, shrinking, feathering; and the finished tiers of a backend's classes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from blissmask.masks import components
from blissmask.masks.refine import (
    coverage,
    drop_specks,
    feather,
    fill_holes,
    finish,
    grow,
    grow_grey,
    move_outline,
    to_tiers,
)
from blissmask.masks.tiers import TIERS, WeightTier

FACE, BODY, HAIR, BACKGROUND = range(4)


def square(side: int, low: int, high: int) -> np.ndarray:
    region = np.zeros((side, side), dtype=bool)
    region[low:high, low:high] = True
    return region


def test_hole_is_filled_but_not_a_bay_that_reaches_the_border() -> None:
    region = square(9, 1, 8)
    region[4, 4] = False
    assert (fill_holes(region) == square(9, 1, 8)).all()
    region[4, 4:] = False
    assert (fill_holes(region) == region).all()


def test_nothing_and_everything_have_no_holes() -> None:
    assert not fill_holes(np.zeros((4, 4), dtype=bool)).any()
    assert fill_holes(np.ones((4, 4), dtype=bool)).all()


def test_hole_between_diagonal_neighbours_is_closed() -> None:
    region = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)
    assert fill_holes(region)[1, 1]


def test_specks_below_the_limit_go_and_those_at_it_stay() -> None:
    region = np.zeros((6, 6), dtype=bool)
    region[0, 0] = region[3, 3] = region[4, 4] = True  # one pixel, and two that touch at a corner
    assert np.argwhere(drop_specks(region, min_pixels=2)).tolist() == [[3, 3], [4, 4]]


def test_growing_moves_a_straight_edge_by_the_pixels_asked_for() -> None:
    region = np.zeros((9, 9), dtype=bool)
    region[:, :3] = True
    assert grow(region, 2).sum(axis=1).tolist() == [5] * 9
    assert grow(region, -2).sum(axis=1).tolist() == [1] * 9


def test_shrinking_does_not_pull_a_person_away_from_the_border_of_the_photo() -> None:
    region = np.ones((5, 5), dtype=bool)
    assert grow(region, -2).all()


def test_growing_nothing_gives_nothing() -> None:
    assert not grow(np.zeros((5, 5), dtype=bool), 3).any()


def test_grown_pixels_take_the_nearest_value() -> None:
    grey = np.zeros((1, 9), dtype=np.uint8)
    grey[0, 3], grey[0, 5] = 80, 255
    assert grow_grey(grey, 2).tolist() == [[0, 80, 80, 80, 80, 255, 255, 255, 0]]


@pytest.mark.parametrize("pixels", [-4, -1, 1, 4])
def test_an_outline_is_moved_in_strips_as_in_one_piece(monkeypatch, pixels) -> None:
    random = np.random.default_rng(0)
    grey = random.integers(1, 255, (400, 90), dtype=np.uint8) * (
        random.random((400, 90)) < (0.02 if pixels > 0 else 0.9)
    )
    # Rows of people alone and of nobody.
    grey[200:300], grey[300:] = np.maximum(grey[200:300], 1), 0
    whole = grow_grey(grey, pixels)
    monkeypatch.setattr(components, "_STRIP_PIXELS", 1)
    assert (grow_grey(grey, pixels) == whole).all()


def test_moving_the_outline_of_a_large_picture_takes_few_bytes_a_pixel() -> None:
    tiers = np.full((4000, 3000), BACKGROUND, dtype=np.uint8)
    tiers[1000:, 1000:2000] = BODY
    tracemalloc.start()
    try:
        move_outline(tiers, 8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Two arrays of its own, and some strips.
    assert peak < 5 * tiers.size


def test_feather_of_nothing_changes_nothing() -> None:
    grey = np.array([[0, 255]], dtype=np.uint8)
    assert feather(grey, 0) is grey


def test_feather_softens_an_edge_and_keeps_the_flat_parts() -> None:
    grey = np.zeros((8, 64), dtype=np.uint8)
    grey[:, 32:] = 255
    soft = feather(grey, 4)
    assert soft[4, 5] == 0
    assert soft[4, 60] == 255
    assert 0 < soft[4, 31] < soft[4, 32] < 255


def test_classes_become_tiers_and_unknown_numbers_background() -> None:
    labels = np.array([[0, 1, 2]], dtype=np.uint8)
    assert to_tiers(labels, (WeightTier.HAIR, WeightTier.FACE)).tolist() == [[HAIR, FACE, BACKGROUND]]


def test_glasses_in_a_face_become_face() -> None:
    tiers = np.where(square(20, 2, 18), FACE, BACKGROUND).astype(np.uint8)
    tiers[8:10, 6:9] = BODY
    assert (finish(tiers, min_pixels=0)[2:18, 2:18] == FACE).all()


def test_a_hole_too_large_for_a_mouth_stays() -> None:
    tiers = np.where(square(20, 2, 18) & ~square(20, 5, 15), FACE, BACKGROUND).astype(np.uint8)
    assert (finish(tiers, min_pixels=0) == tiers).all()


def test_specks_of_any_tier_become_background_but_parts_of_a_person_stay() -> None:
    tiers = np.where(square(20, 5, 15), BODY, BACKGROUND).astype(np.uint8)
    tiers[5, 5], tiers[0, 0] = HAIR, FACE
    finished = finish(tiers, min_pixels=4)
    assert finished[0, 0] == BACKGROUND
    assert finished[5, 5] == HAIR


def test_growing_keeps_background_of_any_value_as_background() -> None:
    tiers = np.full((1, 9), BACKGROUND, dtype=np.uint8)
    tiers[0, 4] = FACE
    assert move_outline(tiers, 1).tolist() == [[3, 3, 3, 0, 0, 0, 3, 3, 3]]


def test_coverage_is_the_share_of_each_tier() -> None:
    shares = coverage(np.array([[FACE, BODY, BODY, BACKGROUND]], dtype=np.uint8))
    assert list(shares) == list(TIERS)
    assert list(shares.values()) == [0.25, 0.5, 0.0, 0.25]
