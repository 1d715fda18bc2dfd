"""Bars of any colour are found, plain walls are not taken for bars, and nothing moves when a picture is put back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from blissmask.masks.bars import find_content
from blissmask.media.image import read_image

PHOTO = read_image(Path(__file__).parents[2] / "photos" / "astronaut.png").rgb_HW3[::2, ::2]


def _framed(picture, *, top=0, bottom=0, left=0, right=0, colour=0):
    return np.pad(picture, ((top, bottom), (left, right), (0, 0)), constant_values=colour)


def _as_jpeg(rgb_HW3, quality):
    return cv2.imdecode(cv2.imencode(".jpg", rgb_HW3, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def _box(content):
    return content.left, content.top, content.right, content.bottom


@pytest.mark.parametrize("colour", [0, 12, 128, 255])
@pytest.mark.parametrize(
    "bars",
    [
        {"top": 40, "bottom": 40},
        {"left": 60, "right": 20},
        {"top": 30},
        {"top": 50, "bottom": 20, "left": 33, "right": 70},
    ],
)
def test_the_content_is_found_inside_bars(bars, colour):
    content = find_content(_as_jpeg(_framed(PHOTO, **bars, colour=colour), 80))
    left, top = bars.get("left", 0), bars.get("top", 0)
    # Eight pixels: JPEG rings inside a block.
    assert _box(content) == pytest.approx((left, top, left + PHOTO.shape[1], top + PHOTO.shape[0]), abs=8)


def test_writing_in_a_bar_stays_in_the_bar():
    framed = _framed(PHOTO, top=80)
    cv2.putText(framed, "12:45", (20, 45), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (220, 220, 220), 2)
    assert find_content(framed).top == 80


def test_a_canvas_in_a_canvas_is_followed():
    framed = _framed(_framed(PHOTO, top=20, bottom=20, colour=255), left=30, right=30)
    assert _box(find_content(framed)) == (30, 20, 30 + PHOTO.shape[1], 20 + PHOTO.shape[0])


def test_a_photo_without_bars_is_whole():
    content = find_content(PHOTO)
    assert not content.has_bars
    assert content.of(PHOTO).shape == PHOTO.shape


def test_a_plain_wall_above_a_head_is_no_bar():
    wall = np.full((200, 150, 3), 240, np.uint8)
    cv2.circle(wall, (75, 120), 18, (90, 60, 50), -1)
    assert not find_content(wall).has_bars


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 300, 3), (300, 1, 3)])
def test_tiny_and_empty_pictures_are_whole(shape):
    assert not find_content(np.zeros(shape, np.uint8)).has_bars


def test_content_and_boxes_return_to_their_place():
    content = find_content(_framed(PHOTO, top=10, left=20))
    mask = content.within(np.full(PHOTO.shape[:2], 7, np.uint8), bars=3)
    assert mask.shape == content.shape_hw
    assert (mask[10:, 20:] == 7).all()
    assert (mask[:10] == 3).all()
    assert content.box_in_whole((1, 2, 3, 4)) == (21, 12, 23, 14)
