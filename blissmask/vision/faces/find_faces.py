"""The faces of a photo: detected, verified by Face Mesh, each face once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blissmask.vision.cores import side_by_side
from blissmask.vision.detection import overlaps
from blissmask.vision.faces.face_detector import LEFT_EYE, RIGHT_EYE, detect_faces
from blissmask.vision.faces.face_mesh import FaceMesh, fit_mesh
from blissmask.vision.photo import Photo

SAME_NOSE = 0.4
"""Two meshes whose noses are closer than this many face widths are one face.

By eye: without the rule, two nested boxes on one face of the design photos stayed two faces.
"""

SAME_SHARE = 0.25
"""Two meshes that share more than this part of the smaller one's box are one face too.

By eye: a forehead alone can pass for a face, and its nose is far from the true one. Faces cheek to cheek share less.
"""


def find_faces(photo: Photo) -> list[FaceMesh]:
    """Return the verified faces of a photo, in the order of the detector's scores."""
    found = detect_faces(photo)

    def verified(index: int) -> FaceMesh | None:
        left, top, right, bottom = found.boxes_N4[index].tolist()
        return fit_mesh(
            photo,
            (left, top, right, bottom),
            right_eye=found.points_NK2[index, RIGHT_EYE],
            left_eye=found.points_NK2[index, LEFT_EYE],
        )

    meshes = side_by_side(verified, range(len(found)))
    return without_doubles([mesh for mesh in meshes if mesh is not None])


def without_doubles(meshes: Sequence[FaceMesh]) -> list[FaceMesh]:
    """Keep the first of the meshes that lie on one face."""
    kept: list[FaceMesh] = []
    for mesh in meshes:
        if not any(_same_face(mesh, other) for other in kept):
            kept.append(mesh)
    return kept


def _same_face(mesh: FaceMesh, other: FaceMesh) -> bool:
    near = np.linalg.norm(mesh.nose - other.nose) < SAME_NOSE * max(mesh.size, other.size)
    _, inside = overlaps(np.array(mesh.box), np.array([other.box]))
    return bool(near) or bool(inside[0] > SAME_SHARE)
