"""Find people: the BlazePose detector, on the whole photo and on tiles."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.cores import side_by_side
from blissmask.vision.detection import Detector, merge
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Square, tiles, whole

DETECTOR = Detector("pose_detection", 224, ((8, 2), (16, 2), (32, 6)), points=4)

TILE_SHARES = (0.6, 0.4)
"""Sides of the small tiles, as shares of the photo's long side."""

SMALLEST_TILE = 96
OVERLAP = 0.3
MARGIN = 1.25
"""Side of the landmark network's crop relative to the person's circle. Source: MediaPipe's pose pipeline."""


def detect_poses(photo: Photo, *, min_score: float = 0.5) -> list[Square]:
    """Return one turned square per candidate person, best first: the crop the landmark network wants."""
    long_side, short_side = max(photo.width, photo.height), min(photo.width, photo.height)
    sides = sorted(
        {
            side
            for side in (short_side, *(long_side * share for share in TILE_SHARES))
            if SMALLEST_TILE <= side < long_side
        }
    )
    squares = [whole(photo.width, photo.height)]
    squares += [tile for side in reversed(sides) for tile in tiles(photo.width, photo.height, side, overlap=OVERLAP)]
    found = merge(
        side_by_side(
            lambda square: merge([DETECTOR.detect(photo, square, min_score=min_score)], contained=0.7), squares
        )
    )
    return [region_of(points[0], points[1]) for points in found.points_NK2]


def region_of(hip: NDArray[np.float64], rim: NDArray[np.float64]) -> Square:
    """Return the square around a person from the middle of the hips and a point on the circle around the body, above the head."""
    x, y = rim - hip
    return Square(float(hip[0]), float(hip[1]), max(1.0, 2 * MARGIN * math.hypot(x, y)), math.atan2(y, x) + math.pi / 2)
