"""Cover a photo with overlapping square tiles, so that networks of 128 to 256 pixels can see small people."""

from __future__ import annotations

import math

from blissmask.vision.regions import Square

LARGEST_ASPECT = 12
"""Tiles are never smaller than the long side divided by this: a panorama of 3 x 50000 pixels would need thousands."""


def whole(width: int, height: int) -> Square:
    """Return the smallest square around a photo, centred."""
    return Square(width / 2, height / 2, max(width, height))


def tiles(width: int, height: int, side: float, *, overlap: float) -> list[Square]:
    """Return squares of one size that cover a photo, row by row.

    Args:
        width: photo width, pixels.
        height: photo height, pixels.
        side: wanted side of a tile, pixels; limited by :data:`LARGEST_ASPECT`.
        overlap: share of a tile that its neighbour covers too, at least; in [0, 1).
    """
    side = max(side, max(width, height) / LARGEST_ASPECT)
    return [Square(x, y, side) for y in _centres(height, side, overlap) for x in _centres(width, side, overlap)]


def _centres(length: int, side: float, overlap: float) -> list[float]:
    if side >= length:
        return [length / 2]
    count = math.ceil((length - side) / (side * (1 - overlap))) + 1
    step = (length - side) / (count - 1)
    return [side / 2 + step * index for index in range(count)]
