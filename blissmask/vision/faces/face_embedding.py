"""Turn a face into 128 numbers that are near each other for one person: dlib's ResNet face recognition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.photo import Photo
from blissmask.vision.regions import similarity
from blissmask.vision.session import run

NETWORK = "dlib_face"
CHIP_SIZE = 150
CHIP_PADDING = 0.25
"""Side of an aligned face in pixels, and its border on each side as a share of the face.

Source: dlib's ``dnn_face_recognition_ex.cpp``, ``get_face_chip_details(shape, 150, 0.25)``.
"""

MESH_POINTS = (263, 362, 33, 133, 2)
"""The mesh points at dlib's five: left eye, outer and inner corner; right eye, likewise; below the nose."""

TEMPLATE = np.array([
    [0.8595674595992, 0.2134981538014],
    [0.6460604764104, 0.2289674387677],
    [0.1205750620789, 0.2137274526848],
    [0.3340850613712, 0.2290642403242],
    [0.4901123135679, 0.6277975316475],
])  # fmt: skip
"""Positions (x, y) of dlib's five points in an aligned face, as shares of its side.

Source: dlib, ``image_transforms/interpolation.h``.
"""


def align(photo: Photo, mesh: FaceMesh) -> NDArray[np.uint8]:
    """Cut the face upright, at the place and scale that dlib's network expects; uint8 (150, 150, 3)."""
    target = (CHIP_PADDING + TEMPLATE) / (2 * CHIP_PADDING + 1) * CHIP_SIZE
    return photo.cut(similarity(mesh.points[list(MESH_POINTS)], target), CHIP_SIZE)


def embed(photo: Photo, mesh: FaceMesh) -> NDArray[np.float32]:
    """Return the embedding of a face, float32 (128,): the mean of the aligned face and its mirror image.

    Compare two embeddings by Euclidean distance. Measured: 23 pairs of one person lie between 0.20 and 0.52. Of 741
    pairs of strangers with faces of 60 pixels and more, none is below 0.55 and four are below 0.60.
    """
    chip = align(photo, mesh)
    both = np.stack([chip, chip[:, ::-1]]).transpose(0, 3, 1, 2).astype(np.float32)
    return np.asarray(run(NETWORK, both)[0].mean(axis=0), dtype=np.float32)
