"""Average mask weights onto the latent grid, in space and, for videos, over the model's causal frame groups.

H, W: pixel rows and columns; h, w: latent rows and columns; F: pixel frames; f: latent frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SHARE_STEPS = 2048
"""Shares are multiples of 1/2048: float16 holds all of them up to 1 exactly."""
_ROUNDING = 1e-3
"""In steps of 1/2048. Sums of float32 shares miss whole numbers by about this; a pixel of a 16x16 cell is 8 steps."""


def to_latent_grid(weights_HW: NDArray[np.float32], grid_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Average pixel weights over each latent cell.

    A cell is a whole number of pixels, so the mean weight of the picture is kept exactly. PyTorch's ``area`` mode gives
    the same at whole ratios and shifts the mean at others.

    Args:
        weights_HW: float32 weights at bucket size.
        grid_hw: (rows, columns) of the latent; each must divide the pixel size.

    Returns:
        float32 of shape ``grid_hw``.

    Raises:
        ValueError: the grid does not divide the pixel size. It is our own mistake: buckets are multiples of the stride.
    """
    height, width = weights_HW.shape
    rows, columns = grid_hw
    if height % rows or width % columns:
        raise ValueError(f"a {columns}x{rows} latent grid does not divide a {width}x{height} mask")
    cells = weights_HW.reshape(rows, height // rows, columns, width // columns)
    return np.asarray(cells.mean(axis=(1, 3), dtype=np.float64), dtype=np.float32)


def causal_groups(frame_count: int, temporal_stride: int) -> list[range]:
    """Return the pixel frames of each latent frame: frame 0 alone, then groups of ``temporal_stride``.

    Source: the causal video VAEs of Wan, Qwen-Image and HunyuanVideo; latent frame j >= 1 covers frames 4j-3..4j at
    stride 4.

    Raises:
        ValueError: ``frame_count`` is not ``temporal_stride * k + 1``.
    """
    if frame_count < 1 or (frame_count - 1) % temporal_stride:
        raise ValueError(f"{frame_count} frames are not {temporal_stride}k+1")
    later = [range(start, start + temporal_stride) for start in range(1, frame_count, temporal_stride)]
    return [range(1), *later]


def one_frame_weights(
    target_fhw: NDArray[np.float32], frame_indices: Sequence[int], target_index: int
) -> NDArray[np.float32]:
    """Return the weights of a one-frame item: 1.0 in the slots of control frames, the mask in the slot of the target.

    Args:
        target_fhw: (1, h, w) weights of the target frame.
        frame_indices: sorted time indices of all slots, those of the controls and of the target.
        target_index: time index of the target frame; its *position* in ``frame_indices`` is the slot.

    Returns:
        (len(frame_indices), h, w) float32.
    """
    slots = np.ones((len(frame_indices), *target_fhw.shape[1:]), dtype=np.float32)
    slots[list(frame_indices).index(target_index)] = target_fhw[0]
    return slots


def exact_shares(shares_Rfhw: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round region shares that sum to 1 in each cell to multiples of 1/2048 that still sum to exactly 1.

    float16 holds these multiples exactly, so nothing is lost in the file. The largest remainders are rounded up (Hare's
    method), so no share moves by 1/2048 or more. Shares of hard masks in 8x8 or 16x16 cells are such multiples already.
    """
    scaled = shares_Rfhw.astype(np.float64) * _SHARE_STEPS
    parts = np.floor(scaled + _ROUNDING)
    missing_fhw = _SHARE_STEPS - parts.sum(axis=0)
    order = np.argsort(np.argsort(parts - scaled, axis=0, kind="stable"), axis=0, kind="stable")
    parts += order < missing_fhw
    return (parts / _SHARE_STEPS).astype(np.float16)
