"""Choose connected parts of a region by their area or by whether they touch the border.

OpenCV numbers parts with four bytes a pixel, which is more than a large photo itself takes. So a region goes through it
in strips, and parts that continue in the next strip are joined.

Shapes: H and W rows and columns of the picture, h rows of a strip; N parts of the whole, n those of a strip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Binary = NDArray[np.bool_]

_STRIP_PIXELS = 1 << 20
"""Pixels of a strip: 4 MB of part numbers, and 8 MB of indices while its parts are chosen."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The connected parts of a region. Some entries stand for no part: the first one, and those that were joined.

    Attributes:
        areas_N: pixels of each part; 0 for entries that stand for none.
        at_border_N: whether it touches the picture's border.
    """

    areas_N: NDArray[np.int64]
    at_border_N: Binary


def choose_parts(region_HW: Binary, choose: Callable[[Parts], Binary], *, connectivity: int) -> Binary:
    """Leave in a region the pixels of the connected parts that are chosen, and return it.

    Args:
        region_HW: the region; it is changed, since another of a large photo would take as much memory again.
        choose: returns for each entry whether the part is chosen; entries that stand for none do not count.
        connectivity: 4 or 8, the neighbours of a pixel.
    """
    in_strips = strips(region_HW.shape)
    parts, whole_of = _measure(region_HW, in_strips, connectivity)
    chosen_N = choose(parts)
    first = 0
    for rows in in_strips:
        count, numbers_hW = cv2.connectedComponents(_as_bytes(region_HW[rows]), connectivity=connectivity)
        chosen_n = chosen_N[whole_of[first : first + count]]
        chosen_n[0] = False
        np.take(chosen_n, numbers_hW, out=region_HW[rows])
        first += count
    return region_HW


def _measure(region_HW: Binary, in_strips: list[slice], connectivity: int) -> tuple[Parts, NDArray[np.int64]]:
    """Return the parts, and for each part of a strip, strip after strip, the part of the whole that it belongs to."""
    areas: list[NDArray[np.int64]] = []
    at_border: list[Binary] = []
    pairs: list[NDArray[np.int64]] = []
    above_W: NDArray[np.int64] | None = None
    first = 0
    for rows in in_strips:
        count, numbers_hW, stats, _ = cv2.connectedComponentsWithStats(
            _as_bytes(region_HW[rows]), connectivity=connectivity
        )
        # The first entry of a strip counts what is in no part.
        areas.append(np.append(0, stats[1:, cv2.CC_STAT_AREA]).astype(np.int64))
        touching = np.zeros(count, dtype=np.bool_)
        touching[numbers_hW[:, 0]] = touching[numbers_hW[:, -1]] = True
        if rows.start == 0:
            touching[numbers_hW[0]] = True
        if rows.stop == len(region_HW):
            touching[numbers_hW[-1]] = True
        at_border.append(touching)
        if above_W is not None:
            pairs += _meeting(above_W, _global(numbers_hW[0], first), connectivity)
        above_W = _global(numbers_hW[-1], first)
        first += count
    whole_of = _joined(first, np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64))
    sizes_N = np.bincount(whole_of, weights=np.concatenate(areas), minlength=first).astype(np.int64)
    border_N = np.bincount(whole_of, weights=np.concatenate(at_border), minlength=first) > 0
    return Parts(sizes_N, border_N), whole_of


def strips(shape: tuple[int, ...], *, least_rows: int = 1) -> list[slice]:
    """Return the rows of strips of about a megapixel, from the top to the bottom of a picture of this shape, (H, W)."""
    height, width = shape
    rows = max(least_rows, _STRIP_PIXELS // max(1, width))
    return [slice(top, min(height, top + rows)) for top in range(0, height, rows)]


def _as_bytes(region_hW: Binary) -> NDArray[np.uint8]:
    return np.ascontiguousarray(region_hW).view(np.uint8)


def _global(numbers_W: NDArray[np.int32], first: int) -> NDArray[np.int64]:
    """Return numbers that are unique among all strips; 0 stays 0, what is in no part."""
    return np.where(numbers_W > 0, numbers_W.astype(np.int64) + first, 0)


def _meeting(above_W: NDArray[np.int64], below_W: NDArray[np.int64], connectivity: int) -> list[NDArray[np.int64]]:
    """Return pairs of parts that touch across the edge of two strips, (N, 2)."""
    neighbours = [(above_W, below_W)]
    if connectivity == 8:
        neighbours += [(above_W[1:], below_W[:-1]), (above_W[:-1], below_W[1:])]
    found = [np.stack(pair, axis=1)[(pair[0] > 0) & (pair[1] > 0)] for pair in neighbours]
    return [np.unique(pairs_N2, axis=0) for pairs_N2 in found]


def _joined(count: int, pairs_N2: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each number the smallest number that it is connected with by pairs."""
    parents = list(range(count))

    def root_of(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for one, other in pairs_N2.tolist():
        low, high = sorted((root_of(one), root_of(other)))
        parents[high] = low
    return np.array([root_of(number) for number in range(count)], dtype=np.int64)
