"""Who is in a photo: faces verified, bodies fitted, each face linked to its body.

Both embedded backends start from here.

A photo is looked at once: the scenes of the last few photos are kept, so masks, people and identity share one look.
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
from blissmask.vision.bodies.faceless import looks_human, seek_unexplained
from blissmask.vision.bodies.find_bodies import find_bodies
from blissmask.vision.bodies.pose import Pose
from blissmask.vision.cores import side_by_side
from blissmask.vision.faces import face_detector, face_mesh
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.faces.find_faces import find_faces
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Box
from blissmask.vision.selfie_multiclass import Looks

NETWORKS = (
    selfie_multiclass.NETWORK,
    face_detector.FULL_RANGE.name,
    face_detector.SHORT_RANGE.name,
    face_mesh.NETWORK,
    pose_detector.DETECTOR.name,
    pose.NETWORK,
)
"""The networks that decide what is seen in a photo."""

KEPT_SCENES = 4
"""A scene takes a few megabytes; a few workers may each have a photo in hand."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One person as far as seen: a face, a body, or both.

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
        seen: what the body-parts network saw on the way, by box, so that it need not look there again.
    """

    figures: tuple[Figure, ...]
    seen: Mapping[Box, NDArray[np.float32]]

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


def look_at(photo: Photo) -> Scene:
    """Return everybody in the photo; the same photo again costs nothing. Safe to call from several threads."""
    known = _remembered(photo)
    if known is not None:
        return known
    scene = find_scene(photo)
    with _keeping:
        _kept[photo.digest] = scene
        while len(_kept) > KEPT_SCENES:
            _kept.popitem(last=False)
    return scene


def faces_of(photo: Photo) -> list[FaceMesh]:
    """Return all verified faces of the photo, without looking for bodies; costs nothing when :func:`look_at` has seen it lately."""
    known = _remembered(photo)
    return known.faces if known is not None else find_faces(photo)


def find_scene(photo: Photo) -> Scene:
    """Look for everybody in the photo, without asking what is kept."""
    looks = Looks(photo)
    faces = find_faces(photo)
    bodies = find_bodies(photo, faces)
    believed = side_by_side(lambda body: body.face is not None or looks_human(looks, body.pose), bodies)
    bodies = [body for body, believe in zip(bodies, believed, strict=True) if believe]
    figures = [Figure(None if body.face is None else faces[body.face], body.pose) for body in bodies]
    linked = {body.face for body in bodies}
    figures += [Figure(face, None) for index, face in enumerate(faces) if index not in linked]
    unexplained = seek_unexplained(looks, faces, [body.pose for body in bodies])
    figures += [Figure(None, pose) for pose in unexplained if looks_human(looks, pose)]
    return Scene(tuple(figures), looks.seen)


def _remembered(photo: Photo) -> Scene | None:
    with _keeping:
        return _kept.get(photo.digest)
