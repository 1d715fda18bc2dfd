"""Find faces: BlazeFace, full and short range, on the whole photo and on tiles of several sizes."""

from __future__ import annotations

import numpy as np

from blissmask.vision.cores import side_by_side
from blissmask.vision.detection import Detections, Detector, merge
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Square, tiles, whole

FULL_RANGE = Detector("face_detection_full_range_sparse", 192, ((4, 1),), points=6)
SHORT_RANGE = Detector("face_detection_short_range", 128, ((8, 2), (16, 6)), points=6)

RIGHT_EYE, LEFT_EYE = 0, 1
"""Key points, the person's own right and left."""

TILE_SHARES = (0.55, 0.33)
"""Sides of the small tiles, as shares of the photo's short side."""

SMALLEST_TILE = 160
"""Pixels. A face in a smaller tile is too small for Face Mesh and for recognition."""

OVERLAP = 0.3
CONTAINED = 0.7


def detect_faces(photo: Photo, *, min_score: float = 0.5) -> Detections:
    """Return candidate faces, best first; about a third of them are false until Face Mesh verifies them.

    Args:
        photo: the photo.
        min_score: smallest detector score, 0..1.
    """
    short_side = min(photo.width, photo.height)
    full = whole(photo.width, photo.height)
    square = (
        tiles(photo.width, photo.height, short_side, overlap=OVERLAP) if SMALLEST_TILE <= short_side < full.side else []
    )
    small = [
        tile
        for share in TILE_SHARES
        if short_side * share >= SMALLEST_TILE
        for tile in tiles(photo.width, photo.height, short_side * share, overlap=OVERLAP)
    ]
    looks = [(FULL_RANGE, tile) for tile in (full, *square, *small)] + [(SHORT_RANGE, tile) for tile in (full, *square)]
    return merge(side_by_side(lambda look: _detect(*look, photo, min_score), looks), contained=CONTAINED)


def _detect(detector: Detector, tile: Square, photo: Photo, min_score: float) -> Detections:
    found = merge([detector.detect(photo, tile, min_score=min_score)], contained=CONTAINED)
    return found.pick(_uncut(found, tile, photo))


def _uncut(found: Detections, tile: Square, photo: Photo) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Say which boxes are not cut by the border of the tile; a neighbouring tile sees those whole.

    The photo's own border may cut.
    """
    left, top, right, bottom = tile.box()
    boxes, slack = found.boxes_N4, 2.0
    return np.asarray(
        ((boxes[:, 0] > left + slack) | (left <= 0))
        & ((boxes[:, 1] > top + slack) | (top <= 0))
        & ((boxes[:, 2] < right - slack) | (right >= photo.width))
        & ((boxes[:, 3] < bottom - slack) | (bottom >= photo.height))
    )
