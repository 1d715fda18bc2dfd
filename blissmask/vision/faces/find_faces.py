"""The faces of a photo: detected, verified by Face Mesh, no face twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blissmask.vision.cores import side_by_side
from blissmask.vision.detection import overlaps
from blissmask.vision.faces.face_detector import LEFT_EYE, RIGHT_EYE, detect_faces
from blissmask.vision.faces.face_mesh import FaceMesh, fit_mesh
from blissmask.vision.photo import Photo

SAME_NOSE = 0.4
"""Two meshes whose noses are closer than this many face widths are one face (two nested boxes survived the merging otherwise)."""

SAME_SHARE = 0.25
"""Or if they share this part of the smaller one's box: a forehead alone can pass for a face.

Faces cheek to cheek share less.
"""


def find_faces(photo: Photo, *, min_presence: float = 0.3) -> list[FaceMesh]:
    """Return the verified faces of a photo, in the order of the detector's scores.

    Args:
        photo: the photo.
        min_presence: smallest Face Mesh presence, 0..1; true frontal faces score 1.00, false boxes about 0.00.
    """
    found = detect_faces(photo)

    def verified(index: int) -> FaceMesh | None:
        left, top, right, bottom = found.boxes_N4[index].tolist()
        eyes = {"right_eye": found.points_NK2[index, RIGHT_EYE], "left_eye": found.points_NK2[index, LEFT_EYE]}
        return fit_mesh(photo, (left, top, right, bottom), **eyes, min_presence=min_presence)

    return without_doubles([mesh for mesh in side_by_side(verified, range(len(found))) if mesh is not None])


def without_doubles(meshes: Sequence[FaceMesh]) -> list[FaceMesh]:
    """Keep the first of meshes that sit on one face."""
    kept: list[FaceMesh] = []
    for mesh in meshes:
        if not any(_same_face(mesh, other) for other in kept):
            kept.append(mesh)
    return kept


def _same_face(mesh: FaceMesh, other: FaceMesh) -> bool:
    near = np.linalg.norm(mesh.nose - other.nose) < SAME_NOSE * max(mesh.size, other.size)
    _, inside = overlaps(np.array(mesh.box), np.array([other.box]))
    return bool(near) or bool(inside[0] > SAME_SHARE)
