"""dlib's face recognition, ships with blissmask: no download, no GPU, CC0-1.0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blissmask.licence import Licence
from blissmask.people.faces.face_reader import Face, FaceReader, Thresholds
from blissmask.vision.faces import face_detector, face_embedding, face_mesh
from blissmask.vision.faces.face_mesh import TURNED_AWAY
from blissmask.vision.photo import Photo
from blissmask.vision.scene import faces_of
from blissmask.vision.session import give_back_store, weights_identity

THRESHOLDS = Thresholds(max_distance=0.55, uncertain_band=0.05, min_margin=0.10, unclear_tighter=0.10)
"""Measured: 23 pairs of one person lie between 0.20 and 0.52.

Of 741 pairs of strangers with faces of 60 pixels and more none is below 0.55, one is below 0.58 and four are below
0.60. Small or turned faces of strangers come as near as 0.45, so unclear faces must be nearer by 0.10.
"""

NETWORKS = (face_embedding.NETWORK, face_mesh.NETWORK, face_detector.FULL_RANGE.name, face_detector.SHORT_RANGE.name)


class EmbeddedFaces:
    """The built-in identity."""

    licence = Licence(
        "CC0-1.0", commercial=True, note="trained partly on scraped faces; weaker on children and uneven across groups"
    )
    identity = f"dlib-resnet-{weights_identity(*NETWORKS)}"
    thread_safe = True
    thresholds = THRESHOLDS

    def faces(self, rgb_HW3: NDArray[np.uint8]) -> list[Face]:
        """Return every verified face; safe to call from several threads."""
        photo = Photo(rgb_HW3)
        faces = [
            Face(
                box_xyxy=mesh.box,
                embedding_D=face_embedding.embed(photo, mesh),
                width_pixels=mesh.width,
                confidence=mesh.presence,
                turned_away=mesh.turn > TURNED_AWAY,
            )
            for mesh in faces_of(photo)
        ]
        give_back_store(photo.width * photo.height)
        return faces


def face_reader(options: object) -> FaceReader:
    """Return the built-in identity; it has nothing to configure, and its networks are loaded at the first photo."""
    return EmbeddedFaces()
