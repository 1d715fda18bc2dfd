"""Find people: the BlazePose detector, on the whole photo and on tiles."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.cores import side_by_side
from blissmask.vision.detection import CONTAINED, Detections, Detector, merge
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Square, tiles, whole

# Input size, strides and anchors per cell: MediaPipe's pose_detection graph.
DETECTOR = Detector(name="pose_detection", size=224, layers=((8, 2), (16, 2), (32, 6)), points=4)

MIN_SCORE = 0.5
"""Smallest score of a candidate; by eye. The landmark network verifies each."""

TILE_SHARES = (0.6, 0.4)
"""Sides of the small tiles, as shares of the photo's long side; by eye."""

SMALLEST_TILE = 96
"""Pixels; by eye. Smaller tiles would be enlarged more than twice for the network's 224 pixels."""

OVERLAP = 0.3
"""Share of a tile that its neighbour covers too; by eye, as for faces."""

MARGIN = 1.25
"""Side of the landmark network's crop relative to the circle around the body. Source: MediaPipe's pose graphs."""


def detect_poses(photo: Photo) -> list[Square]:
    """Return one turned square per candidate person, best first: the crop that the landmark network takes."""
    long_side, short_side = max(photo.width, photo.height), min(photo.width, photo.height)
    sides = {short_side} | {long_side * share for share in TILE_SHARES}
    squares = [whole(photo.width, photo.height)]
    for side in sorted(sides, reverse=True):
        if SMALLEST_TILE <= side < long_side:
            squares += tiles(photo.width, photo.height, side, overlap=OVERLAP)

    def detect(square: Square) -> Detections:
        return detect_in(photo, square, min_score=MIN_SCORE)

    found = merge(side_by_side(detect, squares))
    return [region_of(points[0], points[1]) for points in found.points_NK2]


def detect_in(photo: Photo, square: Square, *, min_score: float) -> Detections:
    """Return the people in one unturned square of the photo, each once, best first."""
    return merge([DETECTOR.detect(photo, square, min_score=min_score)], contained=CONTAINED)


def region_of(hip: NDArray[np.float64], rim: NDArray[np.float64]) -> Square:
    """Return the square around a person.

    Args:
        hip: (2,) the middle of the hips.
        rim: (2,) a point on the circle around the body, above the head.
    """
    x, y = rim - hip
    return Square(
        x=float(hip[0]),
        y=float(hip[1]),
        side=max(1.0, 2 * MARGIN * math.hypot(x, y)),
        angle=math.atan2(y, x) + math.pi / 2,
    )
