"""Parts of a region are chosen the same in one piece and in strips."""

import cv2
import numpy as np
import pytest

from blissmask.masks import components
from blissmask.masks.components import choose_parts


def region(kind, shape=(61, 47)):
    if kind == "noise":
        return np.random.default_rng(0).random(shape) < 0.55
    if kind == "spiral":
        return spiral(shape)
    return np.full(shape, kind == "full")


def spiral(shape):
    """Return one part that winds through every strip many times."""
    picture = np.zeros(shape, np.uint8)
    centre, turns = (shape[1] // 2, shape[0] // 2), np.linspace(0, 14 * np.pi, 2000)
    points = np.stack([centre[0] + turns * np.cos(turns) * 0.5, centre[1] + turns * np.sin(turns) * 0.65], axis=1)
    cv2.polylines(picture, [points.astype(np.int32)], isClosed=False, color=1)
    return picture.astype(bool)


def expected(where, connectivity, choose):
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(where.astype(np.uint8), connectivity=connectivity)
    edge = set(np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]]).tolist())
    chosen = [part for part in range(1, len(stats)) if choose(stats[part, cv2.CC_STAT_AREA], part in edge)]
    return np.isin(numbers, chosen)


@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("kind", ["noise", "spiral", "full", "empty"])
def test_parts_are_chosen_by_area_in_strips_of_any_height(monkeypatch, kind, connectivity, rows):
    where = region(kind)
    monkeypatch.setattr(components, "_STRIP_PIXELS", rows * where.shape[1])
    large = choose_parts(where, lambda parts: parts.areas_N >= 9, connectivity=connectivity)
    assert (large == expected(where, connectivity, lambda area, at_border: area >= 9)).all()


@pytest.mark.parametrize("rows", [1, 5, 1000])
@pytest.mark.parametrize("kind", ["noise", "spiral"])
def test_parts_are_chosen_by_the_border_in_strips_of_any_height(monkeypatch, kind, rows):
    where = ~region(kind)
    monkeypatch.setattr(components, "_STRIP_PIXELS", rows * where.shape[1])
    inside = choose_parts(where, lambda parts: ~parts.at_border_N, connectivity=4)
    assert (inside == expected(where, 4, lambda area, at_border: not at_border)).all()


@pytest.mark.parametrize("rows", [3, 1000])
def test_the_largest_part_is_one_of_the_region(monkeypatch, rows):
    where = np.zeros((40, 30), dtype=bool)
    where[5:8, 5:8] = where[20, 20] = True
    monkeypatch.setattr(components, "_STRIP_PIXELS", rows * where.shape[1])
    largest = choose_parts(where, lambda parts: parts.areas_N >= parts.areas_N.max(), connectivity=8)
    assert (np.flatnonzero(largest.any(axis=1)) == [5, 6, 7]).all()
