"""How far the people of a photo reach: beyond it, nothing is anybody, whatever its colours look like.

Selfie Multiclass takes smooth and saturated things near people for clothes: umbrellas, tablets, bags, plumes. A body
mask knows no colours; what is not within it or close around it, nor in the square around a head, is a thing.

h, w: rows and columns of the working copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.pose import LEFT_EAR, NOSE, RIGHT_EAR, Pose
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.scene import Figure
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLASSES, FACE_SKIN

BODY_REACH = 0.03
"""How far clothes, hair and hands reach beyond a body mask, as a share of the side of the pose network's crop.

About half the width of a face (faces are 0.06 to 0.12 of that side, 29 people). Measured on four COCO photos with 14
outlined people: the masks so widened cover 0.988 of the people, 0.974 with 0.01 and 0.992 with 0.1; the mean person IoU
is 0.876 with 0.02, 0.03 and 0.04, and without any limit.
"""

HEAD_SIDE = 2.6
"""Side of the square around a verified face in which its head and hair lie, in sides of the face; by eye, big hair."""

TRUNK_WIDTH, TRUNK_HEIGHT = 4.0, 5.0
"""Below a face without a fitted body, so many sides of the face belong to its trunk; by eye, a person in a crowd."""

GUESSED_HEAD = 1.5
"""Radius of the head of a body without a verified face, in distances from nose to the farther ear; by eye.

Faces in this circle keep their tier: a face seen from behind glasses or in shade is not verified, but it is a face.
"""

SMALLEST_HEAD, LARGEST_HEAD = 0.03, 0.1
"""The same radius lies between these shares of the side of the pose network's crop.

Seen from the side, nose and ear are close, and a guessed ear may lie anywhere. Verified faces are 0.06 to 0.12 wide.
"""


def limit_to_people(
    probabilities_hwC: NDArray[np.float32], figures: Sequence[Figure], scale_xy: NDArray[np.float64]
) -> None:
    """Turn what nobody reaches into background, and faces without a head into skin, in place.

    Args:
        probabilities_hwC: float32, sums to 1; C as in ``selfie_multiclass``.
        figures: the people, at least one.
        scale_xy: size of the working copy relative to the photo.
    """
    shape_hw = probabilities_hwC.shape[:2]
    heads, people = np.zeros(shape_hw, np.uint8), np.zeros(shape_hw, np.uint8)
    for figure in figures:
        if figure.face is not None:
            _fill(heads, _head_square(figure.face), scale_xy)
            if figure.pose is None:
                _fill(people, _trunk(figure.face), scale_xy)
        elif figure.pose is not None:
            _add_guessed_head(heads, figure.pose, scale_xy)
        if figure.pose is not None:
            people |= _around_body(figure.pose, shape_hw, scale_xy)
    beyond = (heads | people) == 0
    probabilities_hwC[beyond] = np.eye(len(CLASSES), dtype=np.float32)[BACKGROUND]
    headless = heads == 0
    probabilities_hwC[headless, BODY_SKIN] += probabilities_hwC[headless, FACE_SKIN]
    probabilities_hwC[headless, FACE_SKIN] = 0


def _around_body(pose: Pose, shape_hw: tuple[int, ...], scale_xy: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return 1 within :data:`BODY_REACH` of a body mask."""
    height, width = shape_hw
    whole = (0.0, 0.0, width / scale_xy[0], height / scale_xy[1])
    outside = (pose.logits_in(whole, (width, height)) <= 0).astype(np.uint8)
    away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_3)
    return np.asarray(away <= BODY_REACH * pose.region.side * scale_xy.mean(), dtype=np.uint8)


def _head_square(face: FaceMesh) -> NDArray[np.float64]:
    left, top, right, bottom = face.head(HEAD_SIDE).box()
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _trunk(face: FaceMesh) -> NDArray[np.float64]:
    """Return the corners of the rectangle from the middle of a face downwards, as the face is turned."""
    across = np.array([-face.up[1], face.up[0]]) * face.size * TRUNK_WIDTH / 2
    down = -face.up * face.size * TRUNK_HEIGHT
    return np.array([face.nose - across, face.nose + across, face.nose + across + down, face.nose - across + down])


def _fill(where_hw: NDArray[np.uint8], corners_N2: NDArray[np.float64], scale_xy: NDArray[np.float64]) -> None:
    cv2.fillConvexPoly(where_hw, np.rint(corners_N2 * scale_xy).astype(np.int32), 1)


def _add_guessed_head(heads_hw: NDArray[np.uint8], pose: Pose, scale_xy: NDArray[np.float64]) -> None:
    nose = pose.points[NOSE]
    to_ear = max(float(np.linalg.norm(pose.points[ear] - nose)) for ear in (LEFT_EAR, RIGHT_EAR))
    side = pose.region.side
    radius = min(max(GUESSED_HEAD * to_ear, SMALLEST_HEAD * side), LARGEST_HEAD * side) * float(scale_xy.mean())
    column, row = (round(float(place)) for place in nose * scale_xy)
    cv2.circle(heads_hw, (column, row), round(radius), 1, thickness=-1)
