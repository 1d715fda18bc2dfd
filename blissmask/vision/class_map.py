"""Class probabilities of a whole photo, blended from several crops through Selfie Multiclass.

The network takes the whole photo, each person and each head. Everything happens on a working copy of the photo of at
most :data:`WORKING_SIDE` pixels. h, w: rows and columns of the working copy; C = the classes of
``selfie_multiclass``. The body masks are joined in by ``evidence.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.faces.face_mesh import SURE_PRESENCE, TURNED_AWAY
from blissmask.vision.photo import Photo, paste
from blissmask.vision.regions import Box, box_of, box_to_crop, invert, move, square_around, tiles, union
from blissmask.vision.scene import Figure, Scene
from blissmask.vision.selfie_multiclass import BACKGROUND, CLASSES, CLOTHES, FACE_SKIN, HAIR, SIZE, BoxClassifier

WORKING_SIDE = 1400
"""Pixels; by eye. The network's crops have 256 pixels, so a larger copy holds no more detail and takes more time."""

LONG_ASPECT = 1.45
TILE_OVERLAP = 0.35
"""Photos longer than this are also covered with square tiles, which overlap by this share at least.

By eye: stretched to a square, the people in a long photo become too thin, and dark suits are lost.
"""

PERSON_MARGIN = 0.2
LARGEST_PERSON = 1.1
"""Margin of the square around a person, and its largest side in long sides of the photo; by eye.

A larger square shows no more than the crop of the whole photo does.
"""

HEAD_SCALE, CLOSE_HEAD_SCALE = 3.4, 2.3
CLOSE_FACE = 220
"""Sides of the crops around a head, in sides of the face; by eye.

Only a face of more than ``CLOSE_FACE`` photo pixels gets the second, closer crop: the first shows smaller ones in full
detail.
"""

PERSON_HEAD_SCALE = 2.2
"""The box of a person holds a square around the head of this side, in sides of the face; by eye."""

PHOTO_WEIGHT, PERSON_WEIGHT, HEAD_WEIGHT, CLOSE_HEAD_WEIGHT = 1.0, 2.0, 6.0, 8.0
"""Weights of the crops where several show a pixel; by eye, the closer crop counts more.

Measured with these crops and weights against the whole photo alone: IoU with an independent face parser on 29 heads
0.903 to 0.928 for faces and 0.780 to 0.836 for hair; person IoU on four COCO photos 0.824 to 0.827.
"""

HALVES = (slice(0, len(CLASSES) // 2), slice(len(CLASSES) // 2, len(CLASSES)))
"""The classes in two arrays while crops are added up: OpenCV warps at most four channels at once."""

NO_WEIGHT = 1e-6
"""Weight before the first crop, so that no pixel divides by zero."""

RAMP = 0.18
"""Share of a crop over which its weight falls to zero towards an inner border; by eye.

What the border cuts is classified badly.
"""

BLACK = 8
"""Largest value, 0..255, of the lightest colour of a place that shows nothing, at the size of the network's input.

Selfie Multiclass takes black near a face for face. Of 53 photos with people two have such places outside the outlines
of verified faces: a black corner, a tenth of the picture, and the shaded side of a neck.
"""


@dataclass(frozen=True, slots=True)
class ClassMap:
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
        """Size of the working copy relative to the photo, (2,).

        Across and down differ, since sides are rounded to whole pixels.
        """
        return np.array(self.size_wh) / self.photo_wh


def working_size(photo: Photo) -> tuple[int, int]:
    """Return (width, height) of the working copy; the photo's own if that is small enough."""
    scale = min(1.0, WORKING_SIDE / max(photo.width, photo.height))
    return max(1, round(photo.width * scale)), max(1, round(photo.height * scale))


def map_classes(photo: Photo, scene: Scene) -> ClassMap:
    """Return the blended class probabilities of a photo, faces mended by their meshes.

    The bodies of the scene are not yet joined in.
    """
    width, height = working_size(photo)
    halves = tuple(np.zeros((height, width, half.stop - half.start), np.float32) for half in HALVES)
    weights = np.full((height, width), NO_WEIGHT, np.float32)
    scale_xy = np.array([width, height]) / (photo.width, photo.height)
    weighted_boxes = list(_crops(photo, scene))
    boxes = [box for box, _ in weighted_boxes]
    classified = BoxClassifier(photo, scene.classified).classify_each(boxes)
    for (box, weight), probabilities in zip(weighted_boxes, classified, strict=True):
        left, top, right, bottom = (np.reshape(box, (2, 2)) * scale_xy).reshape(-1).tolist()
        _add_crop(halves, weights, probabilities, (left, top, right, bottom), weight)
    for half in halves:
        half /= _of_each_class(weights, half)
    total = np.concatenate(halves, axis=-1)
    for face in scene.faces:
        if face.presence >= SURE_PRESENCE and face.turn <= TURNED_AWAY:
            _mend_face(total, face.oval * scale_xy)
    _drop_black_faces(total, photo, [face.oval * scale_xy for face in scene.faces])
    return ClassMap(total, (photo.width, photo.height))


def _crops(photo: Photo, scene: Scene) -> Iterator[tuple[Box, float]]:
    """Yield the boxes to classify and the weight of each."""
    yield photo.box, PHOTO_WEIGHT
    long_side, short_side = max(photo.width, photo.height), min(photo.width, photo.height)
    if long_side / short_side > LONG_ASPECT:
        for tile in tiles(photo.width, photo.height, short_side, overlap=TILE_OVERLAP):
            yield tile.box(), PHOTO_WEIGHT
    for figure in scene.figures:
        person = person_box(figure)
        if person is not None:
            around = square_around(person, margin=PERSON_MARGIN)
            if around.side < LARGEST_PERSON * long_side:
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
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)
    body = box_of(move(corners, invert(figure.pose.region.to_crop(SIZE))))
    return body if figure.face is None else union(body, figure.face.head(PERSON_HEAD_SCALE).box())


def _add_crop(
    halves: Sequence[NDArray[np.float32]],
    weights_hw: NDArray[np.float32],
    probabilities_C: NDArray[np.float32],
    box: Box,
    weight: float,
) -> None:
    """Add a crop's probabilities, times its weight, to the pixels of ``box`` (working copy pixels).

    Args:
        halves: (h, w, K) with the classes of each of :data:`HALVES`; what is added to.
        weights_hw: the summed weights; added to as well.
        probabilities_C: (256, 256, C) of the crop.
        box: the crop.
        weight: of the crop.
    """
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
    for half_hwK, classes in zip(halves, HALVES, strict=True):
        pasted = paste(np.ascontiguousarray(probabilities_C[..., classes]), to_crop, window)
        pasted *= _of_each_class(share, half_hwK)
        half_hwK[top:bottom, left:right] += pasted


def _of_each_class(values_hw: NDArray[np.float32], half_hwK: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``values_hw`` once for each class; numpy needs three times as long to repeat them while it multiplies."""
    return np.asarray(cv2.merge([values_hw] * half_hwK.shape[-1]), dtype=np.float32)


def _ramp(positions: NDArray[np.float64], low: float, high: float, length: int) -> NDArray[np.float64]:
    """Return the weight of each row or column of a crop.

    It is 1 and falls to 0 towards ``low`` and ``high``, except where the crop ends with the photo.
    """
    width = RAMP * (high - low)
    weights = np.ones_like(positions)
    if low > 0.5:
        weights = np.minimum(weights, np.clip((positions - low) / width, 0, 1))
    if high < length - 0.5:
        weights = np.minimum(weights, np.clip((high - positions) / width, 0, 1))
    return weights


def _mend_face(probabilities_hwC: NDArray[np.float32], oval_N2: NDArray[np.float64]) -> None:
    """Turn skin, things and background inside a face's outline into face.

    Things are glasses and lips to the network, and background is deep shadow. Hair stays hair, since fringes fall into
    the outline, and clothes stay clothes.
    """
    inside = np.zeros(probabilities_hwC.shape[:2], np.uint8)
    cv2.fillPoly(inside, [oval_N2.astype(np.int32)], 1)
    rows, columns = np.nonzero(cv2.erode(inside, np.ones((3, 3), np.uint8)))
    hair = probabilities_hwC[rows, columns, HAIR]
    clothes = probabilities_hwC[rows, columns, CLOTHES]
    probabilities_hwC[rows, columns] = 0
    probabilities_hwC[rows, columns, HAIR] = hair
    probabilities_hwC[rows, columns, CLOTHES] = clothes
    probabilities_hwC[rows, columns, FACE_SKIN] = 1 - hair - clothes


def _drop_black_faces(
    probabilities_hwC: NDArray[np.float32], photo: Photo, ovals_N2: Sequence[NDArray[np.float64]]
) -> None:
    """Turn face into background where the photo is black and no verified face is."""
    height, width = probabilities_hwC.shape[:2]
    seen_hw3 = photo.cut(box_to_crop(photo.box, SIZE), SIZE, repeat_border=True)
    black = (seen_hw3.max(axis=-1) <= BLACK).astype(np.uint8)
    if not black.any():
        return
    black_hw = cv2.resize(black, (width, height), interpolation=cv2.INTER_NEAREST)
    for oval_N2 in ovals_N2:
        cv2.fillPoly(black_hw, [oval_N2.astype(np.int32)], 0)
    rows, columns = np.nonzero(black_hw)
    # Only what is face: elsewhere a small share of face decides between dark clothes and background.
    is_face = probabilities_hwC[rows, columns].argmax(axis=-1) == FACE_SKIN
    rows, columns = rows[is_face], columns[is_face]
    probabilities_hwC[rows, columns, BACKGROUND] += probabilities_hwC[rows, columns, FACE_SKIN]
    probabilities_hwC[rows, columns, FACE_SKIN] = 0
