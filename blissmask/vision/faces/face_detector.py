"""Find faces: BlazeFace, full and short range, on the whole photo and on tiles of several sizes.

N = detections.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.cores import side_by_side
from blissmask.vision.detection import CONTAINED, Detections, Detector, merge
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Square, tiles, whole

# Input sizes, strides and anchors per cell: MediaPipe's graphs face_detection_full_range and _short_range.
FULL_RANGE = Detector(name="face_detection_full_range_sparse", size=192, layers=((4, 1),), points=6)
SHORT_RANGE = Detector(name="face_detection_short_range", size=128, layers=((8, 2), (16, 6)), points=6)

RIGHT_EYE, LEFT_EYE = 0, 1
"""Key points; right and left are the person's own."""

MIN_SCORE = 0.5
"""Smallest score of a candidate.

MediaPipe asks for 0.5 at short range and 0.6 at full range; a false candidate costs little here, since Face Mesh
verifies each.
"""

TILE_SHARES = (0.55, 0.33)
"""Sides of the small tiles, as shares of the photo's short side; by eye."""

SMALLEST_TILE = 160
"""Pixels; by eye. A face in a smaller tile is too small for Face Mesh (192 pixels) and for recognition (150 pixels)."""

OVERLAP = 0.3
"""Share of a tile that its neighbour covers too; by eye. A face of this share of a tile is whole in one of the two."""

BORDER_SLACK = 2.0
"""Pixels; a box this near to a border of its tile counts as cut by it. By eye."""


def detect_faces(photo: Photo) -> Detections:
    """Return candidate faces, best first; about a third of them are false until Face Mesh verifies them."""
    short_side = min(photo.width, photo.height)
    full = whole(photo.width, photo.height)
    large_tiles = [full]
    if SMALLEST_TILE <= short_side < full.side:
        large_tiles += tiles(photo.width, photo.height, short_side, overlap=OVERLAP)
    small_tiles: list[Square] = []
    for share in TILE_SHARES:
        if short_side * share >= SMALLEST_TILE:
            small_tiles += tiles(photo.width, photo.height, short_side * share, overlap=OVERLAP)
    jobs = [(FULL_RANGE, tile) for tile in large_tiles + small_tiles]
    # Small tiles are left to the full-range network: a face that fills a small tile is of middling size in a large one.
    jobs += [(SHORT_RANGE, tile) for tile in large_tiles]

    def detect(job: tuple[Detector, Square]) -> Detections:
        detector, tile = job
        found = merge([detector.detect(photo, tile, min_score=MIN_SCORE)], contained=CONTAINED)
        return found.pick(_is_whole(found, tile, photo))

    return merge(side_by_side(detect, jobs), contained=CONTAINED)


def _is_whole(found: Detections, tile: Square, photo: Photo) -> NDArray[np.bool_]:
    """Return which boxes are not cut by a border of the tile, bool (N,).

    A neighbouring tile shows the cut faces whole. The border of the photo itself may cut a face.
    """
    left, top, right, bottom = tile.box()
    boxes_N4 = found.boxes_N4
    return np.asarray(
        ((boxes_N4[:, 0] > left + BORDER_SLACK) | (left <= 0))
        & ((boxes_N4[:, 1] > top + BORDER_SLACK) | (top <= 0))
        & ((boxes_N4[:, 2] < right - BORDER_SLACK) | (right >= photo.width))
        & ((boxes_N4[:, 3] < bottom - BORDER_SLACK) | (bottom >= photo.height))
    )
