"""Class probabilities of a whole photo, from several looks with the body-parts network.

One look at the whole photo, one at each person and one at each head, blended; then joined with the body masks.
Everything happens on a working copy of the photo of at most :data:`WORKING_SIDE` pixels. h, w: rows and columns of that
copy; C = the classes of ``selfie_multiclass``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.faces.face_mesh import TURNED_AWAY
from blissmask.vision.photo import Photo, paste
from blissmask.vision.regions import Box, box_of, box_to_crop, invert, move, square_around, tiles, union
from blissmask.vision.scene import Figure, Scene
from blissmask.vision.selfie_multiclass import CLASSES, CLOTHES, FACE_SKIN, HAIR, SIZE, Looks

WORKING_SIDE = 1400
"""Pixels. The networks see 256 pixels per crop; more than this holds no more detail, only more work."""

LONG_ASPECT = 1.45
"""Photos longer than this are also looked at in square tiles; stretched to a square, people become too thin."""

PERSON_MARGIN = 0.2
HEAD_SCALE, CLOSE_HEAD_SCALE = 3.4, 2.3
CLOSE_FACE = 220
"""Photo pixels; a face larger than this gets a second, closer look."""

PHOTO_WEIGHT, PERSON_WEIGHT, HEAD_WEIGHT, CLOSE_HEAD_WEIGHT = 1.0, 2.0, 6.0, 8.0

RAMP = 0.18
"""Share of a crop over which its weight falls to zero towards an inner border; what is cut there is seen badly."""

SURE_FACE = 0.8
"""Face Mesh presence from which its outline may overrule the classes."""


@dataclass(frozen=True, slots=True)
class PartsMap:
    """What every pixel of the working copy shows.

    Attributes:
        probabilities_hwC: float32, sums to 1.
        photo_wh: size of the photo.
    """

    probabilities_hwC: NDArray[np.float32]
    photo_wh: tuple[int, int]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Size of the working copy."""
        height, width = self.probabilities_hwC.shape[:2]
        return width, height

    @property
    def scale_xy(self) -> NDArray[np.float64]:
        """Size of the working copy relative to the photo, (2,); across and down differ where sides are rounded to whole pixels."""
        return np.array(self.size_wh) / self.photo_wh


def working_size(photo: Photo) -> tuple[int, int]:
    """Return (width, height) of the working copy; the photo's own if that is small enough."""
    scale = min(1.0, WORKING_SIDE / max(photo.width, photo.height))
    return max(1, round(photo.width * scale)), max(1, round(photo.height * scale))


def map_parts(photo: Photo, scene: Scene) -> PartsMap:
    """Return the blended class probabilities of a photo, faces mended by their meshes; the bodies are not yet joined in."""
    width, height = working_size(photo)
    total = np.zeros((height, width, len(CLASSES)), np.float32)
    weights = np.full((height, width), 1e-6, np.float32)
    parts = PartsMap(total, (photo.width, photo.height))
    boxes, importances = zip(*_looks(photo, scene), strict=True)
    for box, importance, seen in zip(boxes, importances, Looks(photo, scene.seen).at_each(boxes), strict=True):
        left, top, right, bottom = (np.reshape(box, (2, 2)) * parts.scale_xy).reshape(-1).tolist()
        _add_look(total, weights, seen, (left, top, right, bottom), importance)
    total /= weights[..., None]
    for face in scene.faces:
        if face.presence >= SURE_FACE and face.turn <= TURNED_AWAY:
            _mend_face(total, face.oval * parts.scale_xy)
    return parts


def _looks(photo: Photo, scene: Scene) -> Iterator[tuple[Box, float]]:
    """Yield the boxes to look at and the weight of each look."""
    yield photo.box, PHOTO_WEIGHT
    long_side, short_side = max(photo.width, photo.height), min(photo.width, photo.height)
    if long_side / short_side > LONG_ASPECT:
        for tile in tiles(photo.width, photo.height, short_side, overlap=0.35):
            yield tile.box(), PHOTO_WEIGHT
    for figure in scene.figures:
        person = person_box(figure)
        if person is not None:
            around = square_around(person, margin=PERSON_MARGIN)
            if around.side < 1.1 * long_side:
                yield around.box(), PERSON_WEIGHT
    for face in scene.faces:
        head = face.head(HEAD_SCALE)
        if head.side < long_side:
            yield head.box(), HEAD_WEIGHT
        if head.side / HEAD_SCALE > CLOSE_FACE:
            yield face.head(CLOSE_HEAD_SCALE).box(), CLOSE_HEAD_WEIGHT


def person_box(figure: Figure) -> Box | None:
    """Return the box of a person's body mask and head, in photo pixels; None without a body."""
    if figure.pose is None:
        return None
    rows, columns = np.nonzero(figure.pose.mask_logits > 0)
    if not len(rows):
        return None
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    corners = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]], dtype=np.float64)
    body = box_of(move(corners, invert(figure.pose.region.to_crop(SIZE))))
    return body if figure.face is None else union(body, figure.face.head(2.2).box())


def _add_look(
    total_hwC: NDArray[np.float32],
    weights_hw: NDArray[np.float32],
    seen_hwC: NDArray[np.float32],
    box: Box,
    weight: float,
) -> None:
    height, width = weights_hw.shape
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(width, round(box[2])), min(height, round(box[3]))
    if right <= left or bottom <= top:
        return
    to_crop = box_to_crop(box, SIZE)
    window = (left, top, right, bottom)
    across = _ramp(np.arange(left, right) + 0.5, box[0], box[2], width)
    down = _ramp(np.arange(top, bottom) + 0.5, box[1], box[3], height)
    share = np.outer(down, across).astype(np.float32) * weight
    weights_hw[top:bottom, left:right] += share
    half = len(CLASSES) // 2
    # OpenCV warps at most four channels at once.
    for classes in (slice(0, half), slice(half, None)):
        pasted = paste(np.ascontiguousarray(seen_hwC[..., classes]), to_crop, window)
        total_hwC[top:bottom, left:right, classes] += pasted * share[..., None]


def _ramp(positions: NDArray[np.float64], low: float, high: float, length: int) -> NDArray[np.float64]:
    """Return the weight of each row or column of a look: 1, falling to 0 towards borders that are not the photo's own."""
    width = RAMP * (high - low)
    rising = np.clip((positions - low) / width, 0, 1) if low > 0.5 else np.ones_like(positions)
    falling = np.clip((high - positions) / width, 0, 1) if high < length - 0.5 else np.ones_like(positions)
    return np.minimum(rising, falling)


def _mend_face(probabilities_hwC: NDArray[np.float32], oval_N2: NDArray[np.float64]) -> None:
    """Inside a face's outline, skin, things (glasses, lips) and background (deep shadow) are face; hair stays hair, for fringes."""
    inside = np.zeros(probabilities_hwC.shape[:2], np.uint8)
    cv2.fillPoly(inside, [oval_N2.astype(np.int32)], 1)
    rows, columns = np.nonzero(cv2.erode(inside, np.ones((3, 3), np.uint8)))
    hair = probabilities_hwC[rows, columns, HAIR]
    clothes = probabilities_hwC[rows, columns, CLOTHES]
    probabilities_hwC[rows, columns] = 0
    probabilities_hwC[rows, columns, HAIR] = hair
    probabilities_hwC[rows, columns, CLOTHES] = clothes
    probabilities_hwC[rows, columns, FACE_SKIN] = 1 - hair - clothes
