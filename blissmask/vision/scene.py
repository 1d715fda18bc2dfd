"""Who is in a photo: faces verified, bodies fitted, each face linked to its body.

Both embedded backends and the embedded identity start from the scene of a photo. The scenes of the last few photos are
kept, so that masks, people and identity search a photo once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.vision import selfie_multiclass
from blissmask.vision.bodies import pose, pose_detector
from blissmask.vision.bodies.faceless import is_person, search_unexplained
from blissmask.vision.bodies.find_bodies import Body, find_bodies
from blissmask.vision.bodies.pose import Pose
from blissmask.vision.cores import side_by_side
from blissmask.vision.faces import face_detector, face_mesh
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.faces.find_faces import find_faces
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Box
from blissmask.vision.selfie_multiclass import BoxClassifier

NETWORKS = (
    selfie_multiclass.NETWORK,
    face_detector.FULL_RANGE.name,
    face_detector.SHORT_RANGE.name,
    face_mesh.NETWORK,
    pose_detector.DETECTOR.name,
    pose.NETWORK,
)
"""The networks on which scenes and class maps depend, for the identities of backends."""

KEPT_SCENES = 4
"""A scene takes a few megabytes; a few workers process a photo each, and ask for its scene two or three times."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One person: a face, a body, or both.

    Attributes:
        face: None when the face is not seen.
        pose: None when the body is not seen; the person is then partial.
    """

    face: FaceMesh | None
    pose: Pose | None


@dataclass(frozen=True, slots=True)
class Scene:
    """Everybody in one photo.

    Attributes:
        figures: the people.
        classified: class probabilities by box, as far as the search needed them; the class map takes them from here.
    """

    figures: tuple[Figure, ...]
    classified: Mapping[Box, NDArray[np.float32]]

    @property
    def faces(self) -> list[FaceMesh]:
        """All verified faces."""
        return [figure.face for figure in self.figures if figure.face is not None]

    @property
    def poses(self) -> list[Pose]:
        """All fitted bodies."""
        return [figure.pose for figure in self.figures if figure.pose is not None]


_kept: OrderedDict[bytes, Scene] = OrderedDict()
_keeping = threading.Lock()


def scene_of(photo: Photo) -> Scene:
    """Return everybody in the photo, from the kept scenes if it is there. Safe to call from several threads."""
    kept = _kept_scene(photo)
    if kept is not None:
        return kept
    scene = find_scene(photo)
    with _keeping:
        _kept[photo.digest] = scene
        while len(_kept) > KEPT_SCENES:
            _kept.popitem(last=False)
    return scene


def faces_of(photo: Photo) -> list[FaceMesh]:
    """Return all verified faces of the photo, from the kept scenes if it is there; bodies are not searched."""
    kept = _kept_scene(photo)
    return find_faces(photo) if kept is None else kept.faces


def find_scene(photo: Photo) -> Scene:
    """Search everybody in the photo, whatever is kept."""
    classifier = BoxClassifier(photo)
    faces = find_faces(photo)

    def is_believed(body: Body) -> bool:
        return body.face is not None or is_person(classifier, body.pose)

    candidates = find_bodies(photo, faces)
    believed = side_by_side(is_believed, candidates)
    bodies = [body for body, is_real in zip(candidates, believed, strict=True) if is_real]
    figures = [Figure(None if body.face is None else faces[body.face], body.pose) for body in bodies]
    linked = {body.face for body in bodies}
    figures += [Figure(face, None) for index, face in enumerate(faces) if index not in linked]
    unexplained = search_unexplained(classifier, faces, [body.pose for body in bodies])
    figures += [Figure(None, pose) for pose in unexplained if is_person(classifier, pose)]
    return Scene(tuple(figures), classifier.known)


def _kept_scene(photo: Photo) -> Scene | None:
    with _keeping:
        return _kept.get(photo.digest)
