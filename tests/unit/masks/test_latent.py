"""Weights on the latent grid: exact cell means, the causal frame groups of video models, and the one-frame rule."""

from __future__ import annotations

import numpy as np
import pytest

from blissmask.masks.latent import causal_groups, one_frame_weights, to_latent_grid


def test_each_cell_is_the_mean_of_its_pixels() -> None:
    weights = np.arange(8 * 16, dtype=np.float32).reshape(8, 16) / 128
    grid = to_latent_grid(weights, (1, 2))
    assert grid.tolist() == [[float(weights[:, :8].mean()), float(weights[:, 8:].mean())]]
    assert grid.dtype == np.float32


def test_grid_that_does_not_divide_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="3x1 latent grid does not divide a 16x8 mask"):
        to_latent_grid(np.zeros((8, 16), dtype=np.float32), (1, 3))


def test_first_frame_stands_alone_and_the_rest_go_by_four() -> None:
    assert [list(group) for group in causal_groups(9, 4)] == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]


def test_an_image_is_one_group() -> None:
    assert causal_groups(1, 4) == [range(1)]


@pytest.mark.parametrize("count", [0, 2, 8])
def test_other_frame_counts_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"are not 4k\+1"):
        causal_groups(count, 4)


def test_control_slots_weigh_1_and_the_target_slot_carries_the_mask() -> None:
    target = np.full((1, 2, 2), 0.25, dtype=np.float32)
    slots = one_frame_weights(target, [0, 3, 7], 3)
    assert slots.shape == (3, 2, 2)
    assert [float(slot.mean()) for slot in slots] == [1.0, 0.25, 1.0]
