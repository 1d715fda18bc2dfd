"""Fit 468 points to a face, and find out whether it is one: MediaPipe Face Mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.detection import sigmoid
from blissmask.vision.photo import Photo, network_input
from blissmask.vision.regions import Box, Square, box_of, invert, move
from blissmask.vision.session import run

NETWORK = "face_landmark"
SIZE = 192
MARGIN = 1.5
"""Side of the crop relative to the face. Source: MediaPipe's ``face_detection_front_detection_to_roi``."""

MIN_PRESENCE = 0.3
"""Smallest presence of a face.

Measured on the design photos: true frontal faces have 1.00 and false boxes about 0.00, so few faces lie near it.
"""

SURE_PRESENCE = 0.8
"""Presence from which the outline of a face may overrule the classes of the pixels in it; by eye."""

TURNED_AWAY = 0.35
"""From this :attr:`FaceMesh.turn` on, half of the face is hidden, and neither outline nor embedding can be relied on.

By eye: 0 is a face from the front, three quarters give about 0.2.
"""

NOSE, FOREHEAD, CHIN, RIGHT_CHEEK, LEFT_CHEEK = 1, 10, 152, 234, 454
RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 33, 263
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
"""Points around the face, clockwise from the forehead. Source: MediaPipe's FACEMESH_FACE_OVAL."""

WIDTH_OF_HEIGHT = 0.8
"""Width of a face from the front as a share of the distance from forehead to chin; by eye."""

CHEEKS_TO_HEAD = 1.1
HEAD_LIFT = 0.12
"""Square around a head: smallest side in distances between the cheeks, and how far its centre lies above the face's.

The lift is a share of the side and makes room for hair. Both by eye.
"""


@dataclass(frozen=True, slots=True)
class FaceMesh:
    """One face.

    Attributes:
        points: float64 (468, 2), photo pixels.
        presence: the network's confidence that this is a face, 0..1.
    """

    points: NDArray[np.float64]
    presence: float

    @property
    def oval(self) -> NDArray[np.float64]:
        """Outline of the face, (36, 2)."""
        return self.points[list(OVAL)]

    @property
    def nose(self) -> NDArray[np.float64]:
        """Tip of the nose, (2,)."""
        return np.asarray(self.points[NOSE])

    @property
    def width(self) -> float:
        """Distance between the cheeks, pixels; small for a profile."""
        return float(np.linalg.norm(self.points[LEFT_CHEEK] - self.points[RIGHT_CHEEK]))

    @property
    def size(self) -> float:
        """Width of the face as if seen from the front, pixels: a profile is narrow but not short."""
        height = float(np.linalg.norm(self.points[FOREHEAD] - self.points[CHIN]))
        return max(self.width, WIDTH_OF_HEIGHT * height)

    @property
    def up(self) -> NDArray[np.float64]:
        """Direction from chin to forehead, unit length, (2,)."""
        axis = self.points[FOREHEAD] - self.points[CHIN]
        return np.asarray(axis / (np.linalg.norm(axis) + 1e-9))

    @property
    def box(self) -> Box:
        """Box around the oval."""
        return box_of(self.oval)

    @property
    def turn(self) -> float:
        """Distance of the nose from the middle of the cheeks, as a share of the distance between them.

        0 from the front, about 0.2 at three quarters, above 0.35 when half of the face is hidden.
        """
        across = self.points[LEFT_CHEEK] - self.points[RIGHT_CHEEK]
        middle = (self.points[LEFT_CHEEK] + self.points[RIGHT_CHEEK]) / 2
        return abs(float((self.nose - middle) @ across)) / max(float(across @ across), 1e-9)

    def head(self, scale: float) -> Square:
        """Return an unturned square around the head with ``scale`` times the side of the face."""
        left, top, right, bottom = self.box
        side = max(right - left, bottom - top, CHEEKS_TO_HEAD * self.width)
        x, y = np.array([(left + right) / 2, (top + bottom) / 2]) + HEAD_LIFT * side * self.up
        return Square(float(x), float(y), scale * side)


def fit_mesh(
    photo: Photo, box: Box, *, right_eye: NDArray[np.float64], left_eye: NDArray[np.float64]
) -> FaceMesh | None:
    """Fit the mesh to a detected face, twice: the second crop follows the first fit.

    Args:
        photo: the photo.
        box: the detector's box.
        right_eye: (2,) the detector's key point; the line through both eyes turns the crop upright.
        left_eye: (2,) likewise.

    Returns:
        The mesh, None when there is no face.
    """
    left, top, right, bottom = box
    region = Square(
        x=(left + right) / 2,
        y=(top + bottom) / 2,
        side=MARGIN * max(right - left, bottom - top),
        angle=_angle(left_eye - right_eye),
    )
    mesh = _run(photo, region)
    if mesh.presence < MIN_PRESENCE:
        return None
    mesh = _run(photo, _region_of(mesh))
    return mesh if mesh.presence >= MIN_PRESENCE else None


def _run(photo: Photo, region: Square) -> FaceMesh:
    to_crop = region.to_crop(SIZE)
    points, presence = run(NETWORK, network_input(photo.cut(to_crop, SIZE)))
    in_crop = points.reshape(468, 3)[:, :2].astype(np.float64)
    return FaceMesh(move(in_crop, invert(to_crop)), float(sigmoid(presence.astype(np.float64)).item()))


def _region_of(mesh: FaceMesh) -> Square:
    """Return the square around all points of a mesh, turned as the eyes are."""
    angle = _angle(mesh.points[LEFT_EYE_CORNER] - mesh.points[RIGHT_EYE_CORNER])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    upright = mesh.points @ turn.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    x, y = (low + high) / 2 @ turn
    return Square(float(x), float(y), MARGIN * float((high - low).max()), angle)


def _angle(direction: NDArray[np.float64]) -> float:
    return math.atan2(direction[1], direction[0])
