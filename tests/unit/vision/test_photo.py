"""Crops of a photo."""

import numpy as np

from blissmask.vision.photo import Photo, network_input, paste
from blissmask.vision.regions import Square


def _noise(height, width):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_crop_at_full_size_is_the_pixels_themselves():
    rgb = _noise(40, 60)
    crop = Photo(rgb).cut(Square(20, 15, 10).to_crop(10), 10)
    assert np.array_equal(crop, rgb[10:20, 15:25])


def test_what_lies_outside_is_black_or_repeats_the_border():
    photo = Photo(np.full((8, 8, 3), 200, np.uint8))
    beyond = Square(-20, 4, 8).to_crop(8)
    assert photo.cut(beyond, 8).max() == 0
    assert photo.cut(beyond, 8, repeat_border=True).min() == 200


def test_shrinking_averages_instead_of_picking_pixels():
    checkers = np.indices((1024, 1024)).sum(axis=0) % 2 * 255
    rgb = np.repeat(checkers[..., None], 3, axis=-1).astype(np.uint8)
    crop = Photo(rgb).cut(Square(512, 512, 1024).to_crop(100), 100)
    assert crop.min() >= 126
    assert crop.max() <= 129


def test_a_bright_spot_stays_in_place_when_shrunk():
    rgb = np.zeros((600, 900, 3), np.uint8)
    rgb[296:304, 596:604] = 255
    crop = Photo(rgb).cut(Square(450, 300, 900).to_crop(90), 90)
    row, column = np.unravel_index(crop[..., 0].argmax(), crop.shape[:2])
    weights = crop[..., 0].astype(float)
    centre = (weights.sum(axis=0) @ (np.arange(90) + 0.5)) / weights.sum()
    assert abs(centre - 60) < 0.15
    assert (row, column) in {(44, 59), (45, 59), (44, 60), (45, 60)}


def test_paste_puts_a_crop_back_where_it_was_cut():
    field = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    to_crop = Square(32, 32, 64).to_crop(64)
    assert np.allclose(paste(field, to_crop, (5, 10, 25, 50)), field[10:50, 5:25], atol=1e-5)


def test_paste_fills_what_the_crop_does_not_cover():
    pasted = paste(np.ones((4, 4), np.float32), Square(2, 2, 4).to_crop(4), (0, 0, 20, 4), outside=-20)
    assert (pasted[:, 6:] == -20).all()
    assert (pasted[1:3, 1:3] == 1).all()


def test_network_input_spans_the_wanted_range():
    crop = np.array([[[0, 255, 51]]], np.uint8)
    assert np.allclose(network_input(crop), [[[[0, 1, 0.2]]]], atol=1e-6)
    assert np.allclose(network_input(crop, lowest=-1), [[[[-1, 1, -0.6]]]], atol=1e-6)


def test_digest_depends_on_content_and_shape_not_on_the_array():
    rgb = _noise(4, 6)
    assert Photo(rgb).digest == Photo(rgb.copy()).digest
    assert Photo(rgb).digest != Photo(rgb.reshape(6, 4, 3)).digest
    assert Photo(rgb).digest != Photo(255 - rgb).digest


def test_digest_of_a_view_is_that_of_its_content():
    rgb = _noise(8, 8)
    assert Photo(rgb[:, ::-1]).digest == Photo(rgb[:, ::-1].copy()).digest
