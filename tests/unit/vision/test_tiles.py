"""Tiles cover a photo, and never by the thousand."""

import itertools

import pytest

from blissmask.vision.tiles import tiles, whole


@pytest.mark.parametrize(
    ("width", "height", "side"), [(1000, 700, 231), (640, 480, 480), (512, 512, 512), (300, 1000, 299)]
)
def test_tiles_cover_the_photo_and_stay_within_it(width, height, side):
    found = tiles(width, height, side, overlap=0.3)
    assert min(tile.box()[0] for tile in found) == pytest.approx(0)
    assert max(tile.box()[2] for tile in found) == pytest.approx(width)
    assert min(tile.box()[1] for tile in found) == pytest.approx(0)
    assert max(tile.box()[3] for tile in found) == pytest.approx(height)


def test_neighbours_overlap_by_at_least_what_was_asked():
    columns = sorted({tile.x for tile in tiles(1000, 231, 231, overlap=0.3)})
    assert max(b - a for a, b in itertools.pairwise(columns)) <= 231 * 0.7 + 1e-9


def test_a_thin_strip_needs_few_tiles():
    assert len(tiles(50000, 3, 3, overlap=0.35)) <= 20


def test_whole_holds_the_photo():
    left, top, right, bottom = whole(100, 300).box()
    assert (right - left, top, bottom) == (300, 0, 300)
