"""Whether the place that was asked for is still there: the background of a picture beside that of the base model's.

Both are drawn from the same prompt and seed. A LoRA that learned the room of its photos draws that room instead, and a
subject whose colours flood the picture changes it, too. H, W: rows and columns; h, w: of the compared grid; 3 = RGB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blissmask.media.overlay import fit_size, shrink

_CELLS = 32
"""Cells along the longer side that are compared: large shapes and colours, not grain; the subject may move a little."""
_MOSTLY = 0.9
"""A cell counts as background when this much of it shows nobody in both pictures."""
_LEAST = 0.1
"""Share of the picture that must be background, or there is no place to compare; a portrait has little."""


def place_kept(
    drawn_HW3: NDArray[np.uint8],
    base_HW3: NDArray[np.uint8],
    nobody_HW: NDArray[np.bool_],
    base_nobody_HW: NDArray[np.bool_],
) -> float | None:
    """Return how alike the backgrounds of two pictures of one size are, 0 to 1.

    It is the correlation of their colours over the cells in which neither shows a person; 1 is the same background, 0
    another one.

    Args:
        drawn_HW3, base_HW3: with the LoRA, and without.
        nobody_HW, base_nobody_HW: where they show no person.

    Returns:
        None where there is too little background, or one of a single colour.
    """
    rows, columns = drawn_HW3.shape[:2]
    grid_wh = fit_size((columns, rows), (_CELLS, _CELLS))
    free_HW = (nobody_HW & base_nobody_HW).astype(np.uint8) * 255
    free_hw = shrink(np.repeat(free_HW[..., None], 3, axis=2), grid_wh)[..., 0] >= round(_MOSTLY * 255)
    if free_hw.mean() < _LEAST:
        return None
    colours, base = (shrink(rgb_HW3, grid_wh)[free_hw].astype(np.float64) for rgb_HW3 in (drawn_HW3, base_HW3))
    return _correlation(colours.ravel() - colours.mean(), base.ravel() - base.mean())


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    if size == 0:
        return None
    return max(0.0, float(first @ second) / size)
