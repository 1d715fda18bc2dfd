"""Whether a photo lies on its side: going by a face, as cameras that write no EXIF orientation leave them.

H, W: rows and columns; 3 = RGB.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.faces.face_mesh import SURE_PRESENCE, FaceMesh
from blissmask.vision.faces.find_faces import find_faces
from blissmask.vision.photo import SMALLEST_COPY, Photo

BEST_SIDE = 256
"""Longer side of the small photo that is looked at: enough for the face detectors, whose inputs are 128 and 192 pixels;
small faces do not decide."""

_NEAR_UPRIGHT = 30.0
"""Degrees by which a head may lean, either way, and still be upright; people in photos lean less."""


def lies_on_its_side(rgb_HW3: NDArray[np.uint8]) -> bool:
    """Return whether turning the photo by a quarter brings a face upright, and no face is upright as it is.

    Args:
        rgb_HW3: the photo, best with a longer side of :data:`BEST_SIDE`.
    """
    # The networks see at least this many pixels; below it nothing is known.
    if max(rgb_HW3.shape[:2]) < SMALLEST_COPY or _has_upright_face(rgb_HW3):
        return False
    return any(_has_upright_face(np.ascontiguousarray(np.rot90(rgb_HW3, turns))) for turns in (1, 3))


def _has_upright_face(rgb_HW3: NDArray[np.uint8]) -> bool:
    return any(face.presence >= SURE_PRESENCE and _lean(face) <= _NEAR_UPRIGHT for face in find_faces(Photo(rgb_HW3)))


def _lean(face: FaceMesh) -> float:
    """Return by how many degrees a face leans from upright, 0 to 180."""
    right, down = face.up.tolist()
    return abs(math.degrees(math.atan2(right, -down)))
