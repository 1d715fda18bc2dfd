"""Laws that mask maths obeys for every mask, size and setting."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from blissmask.dataset.pixel_mask import PixelMask, moving_mask
from blissmask.masks.latent import to_latent_grid
from blissmask.masks.refine import fill_holes, finish, grow, grow_grey, move_outline
from blissmask.masks.resize import resize_labels, resize_weights
from blissmask.masks.weights import to_loss_weight

SIDES = st.integers(1, 40)
TIER_VALUES = st.sampled_from([0, 80, 128, 255])
GAMMAS = st.floats(0.05, 10)
FLOORS = st.floats(0, 0.99)


GRIDS = st.tuples(SIDES, SIDES)


def greys(elements: st.SearchStrategy[int] = TIER_VALUES) -> st.SearchStrategy[NDArray[np.uint8]]:
    return arrays.arrays(np.uint8, GRIDS, elements=elements)


def weights(
    shape: st.SearchStrategy[tuple[int, ...]] = GRIDS,
) -> st.SearchStrategy[NDArray[np.float32]]:
    return arrays.arrays(np.float32, shape, elements=st.floats(0, 1, width=32))


@given(st.floats(0, 1), GAMMAS, FLOORS)
def test_loss_weights_stay_between_the_floor_and_1(weight: float, gamma: float, floor: float) -> None:
    assert floor <= to_loss_weight(weight, gamma=gamma, min_weight=floor) <= 1 + 1e-12


@given(st.floats(0, 1), st.floats(0, 1), GAMMAS, FLOORS)
def test_a_larger_weight_never_becomes_the_smaller_loss_weight(
    first: float, second: float, gamma: float, floor: float
) -> None:
    low, high = sorted((first, second))
    assert to_loss_weight(low, gamma=gamma, min_weight=floor) <= to_loss_weight(high, gamma=gamma, min_weight=floor)


@given(weights())
def test_gamma_1_and_floor_0_change_nothing(weights_HW: NDArray[np.float32]) -> None:
    assert (to_loss_weight(weights_HW, gamma=1.0, min_weight=0.0) == weights_HW).all()


@given(weights(), GAMMAS, FLOORS)
def test_numbers_arrays_and_tensors_give_the_same(weights_HW: NDArray[np.float32], gamma: float, floor: float) -> None:
    array = to_loss_weight(weights_HW, gamma=gamma, min_weight=floor)
    tensor = to_loss_weight(torch.from_numpy(weights_HW), gamma=gamma, min_weight=floor)
    assert array.dtype == np.float32
    assert np.abs(tensor.numpy() - array).max() < 1e-6
    for row, column in ((0, 0), (-1, -1)):
        number = to_loss_weight(float(weights_HW[row, column]), gamma=gamma, min_weight=floor)
        assert abs(number - float(array[row, column])) < 1e-6


@given(weights(), SIDES, SIDES)
def test_resized_weights_stay_within_their_range(weights_HW: NDArray[np.float32], width: int, height: int) -> None:
    resized = resize_weights(weights_HW, (width, height))
    assert resized.shape == (height, width)
    assert weights_HW.min() <= resized.min()
    assert resized.max() <= weights_HW.max()


@given(weights(), st.data())
def test_shrinking_keeps_the_mean_weight(weights_HW: NDArray[np.float32], data: st.DataObject) -> None:
    height, width = weights_HW.shape
    size_wh = (data.draw(st.integers(1, width)), data.draw(st.integers(1, height)))
    assert abs(float(resize_weights(weights_HW, size_wh).mean()) - float(weights_HW.mean())) < 1e-4


@given(greys(), st.integers(1, 5), st.integers(1, 5))
def test_tiers_survive_growing_and_shrinking_back(grey_HW: NDArray[np.uint8], across: int, down: int) -> None:
    height, width = grey_HW.shape
    weights_HW = (grey_HW / 255).astype(np.float32)
    there = resize_weights(weights_HW, (width * across, height * down))
    assert np.abs(resize_weights(there, (width, height)) - weights_HW).max() < 1e-6


@given(greys(), SIDES, SIDES)
def test_resized_labels_gain_no_value(grey_HW: NDArray[np.uint8], width: int, height: int) -> None:
    assert set(np.unique(resize_labels(grey_HW, (width, height)))) <= set(np.unique(grey_HW))


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([8, 16]), st.data())
def test_the_latent_grid_keeps_the_mean_weight(rows: int, columns: int, stride: int, data: st.DataObject) -> None:
    weights_HW = data.draw(weights(st.just((rows * stride, columns * stride))))
    grid = to_latent_grid(weights_HW, (rows, columns))
    assert grid.shape == (rows, columns)
    assert abs(float(grid.mean(dtype=np.float64)) - float(weights_HW.mean(dtype=np.float64))) < 1e-6


@given(st.integers(0, 5), st.integers(1, 8), st.floats(0, 1, width=32))
def test_frames_of_one_weight_keep_it(groups: int, stride: int, weight: float) -> None:
    count = groups * stride + 1
    still = PixelMask(np.full((1, 2, 3), weight, dtype=np.float32), None)
    averaged = moving_mask([still] * count, count, stride).weights_fHW
    assert averaged.shape == (groups + 1, 2, 3)
    assert np.abs(averaged - np.float32(weight)).max() < 1e-7


@given(greys(), st.integers(-6, 6))
def test_growing_invents_no_tier_value(grey_HW: NDArray[np.uint8], pixels: int) -> None:
    assert set(np.unique(grow_grey(grey_HW, pixels))) <= {0, *np.unique(grey_HW).tolist()}


@given(greys(), st.integers(0, 6))
def test_growing_keeps_what_was_there_and_shrinking_adds_nothing(grey_HW: NDArray[np.uint8], pixels: int) -> None:
    assert (grow_grey(grey_HW, pixels)[grey_HW > 0] == grey_HW[grey_HW > 0]).all()
    smaller = grow_grey(grey_HW, -pixels)
    assert (smaller[smaller > 0] == grey_HW[smaller > 0]).all()


@given(greys(), st.integers(1, 6))
def test_growing_reaches_every_pixel_that_near(grey_HW: NDArray[np.uint8], pixels: int) -> None:
    assert ((grow_grey(grey_HW, pixels) > 0) == grow(grey_HW > 0, pixels)).all()


@given(greys())
def test_filling_holes_twice_is_filling_them_once(grey_HW: NDArray[np.uint8]) -> None:
    filled = fill_holes(grey_HW > 0)
    assert (fill_holes(filled) == filled).all()
    assert filled[grey_HW > 0].all()


@given(greys(st.integers(0, 3)), st.integers(0, 30), st.integers(-4, 4))
def test_finished_tiers_are_tiers_that_were_there_or_background(
    tiers_HW: NDArray[np.uint8], min_pixels: int, grow_pixels: int
) -> None:
    finished = move_outline(finish(tiers_HW, min_pixels=min_pixels), grow_pixels)
    assert set(np.unique(finished)) <= {3, *np.unique(tiers_HW).tolist()}


@given(greys(st.integers(0, 3)))
def test_finishing_twice_is_finishing_once(tiers_HW: NDArray[np.uint8]) -> None:
    once = finish(tiers_HW, min_pixels=5)
    assert (finish(once, min_pixels=5) == once).all()
