"""Regions of a photo: boxes, turned squares, tiles, and the 2x3 matrices that carry points between photo and crop.

Coordinates are continuous: pixel column ``i`` spans ``[i, i + 1)``, so a photo of width W spans ``[0, W]``. N = points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Points = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels; may reach outside the photo."""

LARGEST_ASPECT = 12
"""Tiles are never smaller than the long side divided by this: a panorama of 3 x 50000 pixels would need thousands."""


@dataclass(frozen=True, slots=True)
class Square:
    """A square region of a photo.

    Attributes:
        x: column of the centre, pixels.
        y: row of the centre, pixels.
        side: length of a side, pixels.
        angle: clockwise turn on screen, radians; a crop of the square shows its content turned upright.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_crop(self, size: int) -> Matrix:
        """Return the matrix from photo coordinates to a crop of ``size`` x ``size`` pixels."""
        scale = size / self.side
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        return np.array(
            [[cos, sin, size / 2 - cos * self.x - sin * self.y], [-sin, cos, size / 2 + sin * self.x - cos * self.y]]
        )

    def box(self) -> Box:
        """Return the box of an unturned square."""
        half = self.side / 2
        return self.x - half, self.y - half, self.x + half, self.y + half


def square_around(box: Box, *, margin: float = 0.0) -> Square:
    """Return the unturned square around ``box``; its side is ``1 + margin`` times the longer side of the box."""
    left, top, right, bottom = box
    return Square((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) * (1 + margin))


def whole(width: int, height: int) -> Square:
    """Return the smallest square around a photo, centred."""
    return Square(width / 2, height / 2, max(width, height))


def tiles(width: int, height: int, side: float, *, overlap: float) -> list[Square]:
    """Return squares of one size that cover a photo, row by row.

    Networks of 128 to 256 pixels see small people only in tiles.

    Args:
        width: photo width, pixels.
        height: photo height, pixels.
        side: wanted side of a tile, pixels; limited by :data:`LARGEST_ASPECT`.
        overlap: smallest share of a tile that its neighbour covers too, in [0, 1).
    """
    side = max(side, max(width, height) / LARGEST_ASPECT)
    return [
        Square(x, y, side) for y in _tile_centres(height, side, overlap) for x in _tile_centres(width, side, overlap)
    ]


def _tile_centres(length: int, side: float, overlap: float) -> list[float]:
    if side >= length:
        return [length / 2]
    count = math.ceil((length - side) / (side * (1 - overlap))) + 1
    step = (length - side) / (count - 1)
    return [side / 2 + step * index for index in range(count)]


def box_to_crop(box: Box, size: int) -> Matrix:
    """Return the matrix that stretches ``box`` to a crop of ``size`` x ``size`` pixels."""
    left, top, right, bottom = box
    across, down = size / (right - left), size / (bottom - top)
    return np.array([[across, 0.0, -left * across], [0.0, down, -top * down]])


def box_of(points_N2: Points) -> Box:
    """Return the smallest box around points."""
    (left, top), (right, bottom) = points_N2.min(axis=0), points_N2.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def union(first: Box, second: Box) -> Box:
    """Return the smallest box around two boxes."""
    return min(first[0], second[0]), min(first[1], second[1]), max(first[2], second[2]), max(first[3], second[3])


def invert(matrix: Matrix) -> Matrix:
    """Return the matrix of the opposite direction; ``matrix`` must not be singular."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def move(points_N2: Points, matrix: Matrix) -> Points:
    """Return points carried through ``matrix``."""
    return np.asarray(points_N2 @ matrix[:, :2].T + matrix[:, 2], dtype=np.float64)


def similarity(source_N2: Points, target_N2: Points) -> Matrix:
    """Return the turn, scale and shift that brings ``source_N2`` nearest to ``target_N2``.

    Nearest means the least sum of squared distances; both need at least two distinct points.
    """
    source_mean, target_mean = source_N2.mean(axis=0), target_N2.mean(axis=0)
    source, target = source_N2 - source_mean, target_N2 - target_mean
    spread = (source**2).sum()
    cos = (source * target).sum() / spread
    sin = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum() / spread
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def pixel_matrix(matrix: Matrix) -> Matrix:
    """Turn a matrix on continuous coordinates into OpenCV's, where the centre of the first pixel is (0, 0)."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return shifted
