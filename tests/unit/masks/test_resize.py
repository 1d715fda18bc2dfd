"""Masks shrink by averaging and grow by repeating; two sizes fit when they can show the same framing."""

from __future__ import annotations

import numpy as np
import pytest

from blissmask.masks.resize import aspect_difference, resize_labels, resize_weights, same_framing
from tests.builders.pictures import tier_mask


def test_halving_averages_each_square_of_four() -> None:
    weights = np.array([[0, 1, 1, 1], [0, 1, 0, 0]], dtype=np.float32)
    assert resize_weights(weights, (2, 1)).tolist() == [[0.5, 0.5]]


def test_doubling_repeats_each_pixel() -> None:
    weights = np.array([[0.25, 1.0]], dtype=np.float32)
    assert resize_weights(weights, (4, 2)).tolist() == [[0.25, 0.25, 1.0, 1.0]] * 2


def test_an_axis_that_grows_is_repeated_while_the_other_is_averaged() -> None:
    weights = np.array([[0.0, 1.0], [1.0, 1.0]], dtype=np.float32)
    assert resize_weights(weights, (1, 4)).tolist() == [[0.5], [0.5], [1.0], [1.0]]


def test_labels_never_gain_a_value() -> None:
    assert set(np.unique(resize_labels(tier_mask((48, 32)), (35, 77)))) <= set(np.unique(tier_mask()))


def test_labels_of_the_right_size_are_left_alone() -> None:
    grey = tier_mask()
    assert resize_labels(grey, (48, 32)) is grey


def test_aspect_difference_is_the_relative_one_and_symmetric() -> None:
    assert aspect_difference((2048, 3072), (1024, 1600)) == pytest.approx(0.0417, abs=1e-4)
    assert aspect_difference((1024, 1600), (2048, 3072)) == aspect_difference((2048, 3072), (1024, 1600))


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        ((2048, 3072), (1024, 1536), True),
        ((1920, 1080), (960, 540), True),
        ((1000, 1000), (1000, 1010), True),
        ((1000, 1000), (1000, 1011), False),
        ((2048, 3072), (1024, 1600), False),
        ((2048, 3072), (3072, 2048), False),
        ((101, 67), (51, 34), True),  # one pixel of rounding is more than one percent here
        ((640, 480), (64, 49), False),
    ],
)
def test_sizes_fit_within_one_percent_or_one_pixel_of_rounding(
    first: tuple[int, int], second: tuple[int, int], *, fits: bool
) -> None:
    assert same_framing(first, second) is fits
    assert same_framing(second, first) is fits
