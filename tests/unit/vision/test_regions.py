"""Regions of a photo: points carried between photo and crop, and tiles that cover a photo, never by the thousand."""

import itertools
import math

import numpy as np
import pytest

from blissmask.vision.regions import (
    Square,
    box_to_crop,
    invert,
    move,
    pixel_matrix,
    similarity,
    square_around,
    tiles,
    whole,
)


def test_centre_of_a_square_is_the_centre_of_its_crop():
    matrix = Square(30, 50, 20, angle=0.7).to_crop(100)
    assert move(np.array([[30.0, 50.0]]), matrix) == pytest.approx(np.array([[50.0, 50.0]]))


def test_crop_of_a_turned_square_shows_its_content_upright():
    # The person's up points right in the photo: the square is turned a quarter clockwise.
    matrix = Square(0, 0, 2, angle=math.pi / 2).to_crop(2)
    assert move(np.array([[1.0, 0.0]]), matrix) == pytest.approx(np.array([[1.0, 0.0]]))


def test_invert_is_the_way_back():
    matrix = Square(12, 7, 33, angle=-1.1).to_crop(64)
    points = np.array([[0.0, 0.0], [5.0, 9.0], [100.0, -3.0]])
    assert move(move(points, matrix), invert(matrix)) == pytest.approx(points)


def test_box_corners_become_crop_corners():
    corners = move(np.array([[10.0, 20.0], [30.0, 80.0]]), box_to_crop((10, 20, 30, 80), 256))
    assert corners == pytest.approx(np.array([[0.0, 0.0], [256.0, 256.0]]))


def test_similarity_recovers_turn_scale_and_shift():
    source = np.array([[0.0, 0.0], [4.0, 1.0], [2.0, 7.0], [-3.0, 2.0]])
    truth = invert(Square(5, -2, 10, angle=0.4).to_crop(40))
    assert similarity(source, move(source, truth)) == pytest.approx(truth)


def test_similarity_does_not_mirror():
    source = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    matrix = similarity(source, source * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_doubling_puts_the_first_pixel_centre_between_the_first_two_pixels():
    doubling = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    assert pixel_matrix(doubling)[:, 2] == pytest.approx([0.5, 0.5])


def test_square_around_a_box_keeps_its_centre_and_adds_the_margin_once():
    square = square_around((0, 0, 10, 40), margin=0.5)
    assert (square.x, square.y, square.side) == (5, 20, 60)


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
