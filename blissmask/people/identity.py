"""Recognise the subject: reference photos become embeddings, and each photo's faces are measured against them.

The decision is pure (:func:`decide`); the networks only supply distances. H, W: rows and columns; 3 = RGB; R = reference faces; D = length
of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import InputError, MaskError, Problem
from blissmask.licence import Licence
from blissmask.people.protocol import Choice, Person, Verdict
from blissmask.vision import face_detector, face_id, face_mesh
from blissmask.vision.affine import Box
from blissmask.vision.face_mesh import TURNED_AWAY, FaceMesh
from blissmask.vision.faces import find_faces
from blissmask.vision.photo import Photo
from blissmask.vision.scene import look_at
from blissmask.vision.session import weights_identity

MAX_DISTANCE = 0.55
"""Clear faces this near are one person: of the pairs of one person measured, all were (0.20 to 0.52), of strangers none."""

UNCLEAR_TIGHTER = 0.10
"""An unclear face must be nearer by this much to be found: strangers seen small or from the side come as near as 0.45."""

UNCERTAIN_BAND = 0.05
"""Up to this much beyond the threshold a face is accepted as uncertain, if nobody else comes near."""

MIN_MARGIN = 0.10
"""How much farther the runner-up must be for an uncertain face."""

MIN_PRESENCE = 0.5
MIN_FACE_PIXELS = 60
"""A face is clear when Face Mesh is sure of it, it is this wide, and it is not turned away."""

NETWORKS = (face_id.NETWORK, face_mesh.NETWORK, face_detector.FULL_RANGE.name, face_detector.SHORT_RANGE.name)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How alike is alike enough; distances are Euclidean, smaller is more alike.

    Attributes:
        max_distance: up to here a face is the subject's.
        uncertain_band: beyond it by at most this much, a face may be the subject's and is reported as uncertain.
        min_margin: how much farther the runner-up must be where the distance alone does not decide.
    """

    max_distance: float = MAX_DISTANCE
    uncertain_band: float = UNCERTAIN_BAND
    min_margin: float = MIN_MARGIN


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference photo.

    Attributes:
        name: how messages name it, e.g. its path.
        rgb_HW3: uint8 RGB.
    """

    name: str
    rgb_HW3: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReferenceFace:
    """What is known of one reference.

    Attributes:
        name: the photo's name.
        embedding_D: float32.
        width_pixels: width of the face; below :data:`MIN_FACE_PIXELS` it is a poor reference, which is worth a warning.
    """

    name: str
    embedding_D: NDArray[np.float32]
    width_pixels: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One face of a photo, measured against the subject.

    Attributes:
        distance: to the nearest reference.
        negative: distance to the nearest negative, None without negatives.
        clear: whether the face is large and frontal enough for the distance to be trusted.
    """

    distance: float
    negative: float | None = None
    clear: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """Which of the candidates is the subject; see :class:`Choice`, of which it is the part about faces."""

    verdict: Verdict
    face: int | None
    distance: float | None
    margin: float | None


def decide(candidates: Sequence[Candidate], thresholds: Thresholds) -> Decision:
    """Decide which face is the subject's.

    The nearest face within ``max_distance`` is found; within the uncertain band it is uncertain if the runner-up is ``min_margin``
    farther.
    Two faces within ``max_distance`` and hardly apart (a twin, a mirror, a poster) make it uncertain which of them is meant. An unclear
    face is uncertain unless it is nearer still. A face nearer to a negative than to the subject is not the subject's.

    Returns:
        The decision; ``distance`` is that of the nearest face that no negative claims (of any face when they claim all).
    """
    if not candidates:
        return Decision(Verdict.NO_FACE, None, None, None)
    allowed = [face for face, seen in enumerate(candidates) if seen.negative is None or seen.distance < seen.negative]
    if not allowed:
        return Decision(Verdict.ABSENT, None, min(seen.distance for seen in candidates), None)
    ranked = sorted(allowed, key=lambda face: candidates[face].distance)
    best = candidates[ranked[0]]
    runner_up = candidates[ranked[1]].distance if len(ranked) > 1 else None
    margin = None if runner_up is None else runner_up - best.distance
    apart = margin is None or margin >= thresholds.min_margin
    verdict = _verdict(best, apart=apart, rival=runner_up is not None and runner_up <= thresholds.max_distance, thresholds=thresholds)
    return Decision(verdict, None if verdict is Verdict.ABSENT else ranked[0], best.distance, margin)


def _verdict(best: Candidate, *, apart: bool, rival: bool, thresholds: Thresholds) -> Verdict:
    if best.distance > thresholds.max_distance:
        near = best.distance <= thresholds.max_distance + thresholds.uncertain_band
        return Verdict.UNCERTAIN if near and apart and best.clear else Verdict.ABSENT
    if rival and not apart:
        return Verdict.UNCERTAIN
    if not best.clear and best.distance > thresholds.max_distance - UNCLEAR_TIGHTER:
        return Verdict.UNCERTAIN
    return Verdict.FOUND


def is_clear(face: FaceMesh) -> bool:
    """Say whether a face is large, frontal and sure enough to be recognised."""
    return face.width >= MIN_FACE_PIXELS and face.turn <= TURNED_AWAY and face.presence >= MIN_PRESENCE


def nearest(embedding_D: NDArray[np.float32], known_RD: NDArray[np.float32]) -> float:
    """Return the Euclidean distance of an embedding to the nearest of at least one known."""
    return float(np.linalg.norm(known_RD - embedding_D, axis=1).min())


def read_references(references: Iterable[Reference]) -> list[ReferenceFace]:
    """Embed the one face of each reference photo.

    Raises:
        MaskError: some photos do not hold exactly one face, or it is turned away; names all of them.
    """
    faces: list[ReferenceFace] = []
    problems: list[Problem] = []
    for reference in references:
        photo = Photo(reference.rgb_HW3)
        meshes = find_faces(photo, min_presence=MIN_PRESENCE)
        what, fix = _reference_problem(meshes)
        if what:
            problems.append(Problem(what, (reference.name,), fix))
        else:
            faces.append(ReferenceFace(reference.name, face_id.embed(photo, meshes[0]), meshes[0].width))
    if problems:
        raise MaskError.several(problems)
    return faces


def _reference_problem(meshes: Sequence[FaceMesh]) -> tuple[str, str]:
    """Return what is wrong with the faces of a reference photo and how to mend it; empty texts when nothing is."""
    frontal = "use a photo that shows the face from the front, 60 pixels wide or more"
    if not meshes:
        return "no clear face is in the reference photo", frontal
    if len(meshes) > 1:
        return f"{len(meshes)} faces are in the reference photo; there must be exactly one", "crop it to the one person"
    if meshes[0].turn > TURNED_AWAY:
        return "the face in the reference photo is turned away", frontal
    return "", ""


def face_owners(faces: Sequence[Box], people: Sequence[Person]) -> list[int | None]:
    """Return, for each face, the position of the person it belongs to, None when it is nobody's.

    A person who knows their face owns the one it overlaps; otherwise the face belongs to whoever's mask covers most of it, at least half.
    """
    return [_owner(face, people) for face in faces]


class EmbeddedIdentity:
    """Recognises one subject.

    Args:
        references_RD: embeddings of the subject, at least one.
        negatives_RD: embeddings of people who are not the subject; may be empty.
        thresholds: how alike is alike enough; the measured defaults when None.

    Raises:
        InputError: there is no reference.
    """

    licence = Licence("CC0-1.0", commercial=True, note="trained partly on scraped faces; weaker on children and uneven across groups")
    identity = f"dlib-resnet-{weights_identity(*NETWORKS)}"
    thread_safe = True

    def __init__(
        self,
        references_RD: Sequence[NDArray[np.float32]],
        negatives_RD: Sequence[NDArray[np.float32]] = (),
        *,
        thresholds: Thresholds | None = None,
    ) -> None:
        if not len(references_RD):
            raise InputError("there is no reference photo of the subject", fix="name at least one photo that shows only the subject")
        self._references = np.stack(list(references_RD))
        self._negatives = np.stack(list(negatives_RD)) if len(negatives_RD) else None
        self._thresholds = thresholds or Thresholds()

    def embed(self, rgb_HW3: NDArray[np.uint8]) -> list[tuple[Box, NDArray[np.float32]]]:
        """Return box and embedding of every verified face; safe to call from several threads."""
        photo = Photo(rgb_HW3)
        return [(face.box, face_id.embed(photo, face)) for face in look_at(photo).faces]

    def choose(self, rgb_HW3: NDArray[np.uint8], people: Sequence[Person]) -> Choice:
        """Say which of ``people`` the subject is; safe to call from several threads.

        A subject whose face is seen but whose body no one outlined is uncertain, and ``person`` is None.
        """
        photo = Photo(rgb_HW3)
        faces = look_at(photo).faces
        decision = decide([self._candidate(photo, face) for face in faces], self._thresholds)
        if decision.face is None:
            return Choice(decision.verdict, None, decision.distance, decision.margin)
        person = face_owners([faces[decision.face].box], people)[0]
        verdict = decision.verdict if person is not None else Verdict.UNCERTAIN
        return Choice(verdict, person, decision.distance, decision.margin)

    def _candidate(self, photo: Photo, face: FaceMesh) -> Candidate:
        embedding = face_id.embed(photo, face)
        negative = None if self._negatives is None else nearest(embedding, self._negatives)
        return Candidate(nearest(embedding, self._references), negative, is_clear(face))


def _owner(face: Box, people: Sequence[Person]) -> int | None:
    left, top, right, bottom = face
    best, best_cover = None, 0.5
    for index, person in enumerate(people):
        if person.face_box_xyxy is not None:
            cover = _iou(face, person.face_box_xyxy)
        else:
            inside = person.mask_HW[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))]
            cover = float(inside.mean()) if inside.size else 0.0
        if cover >= best_cover:
            best, best_cover = index, cover
    return best


def _iou(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return shared / max(areas - shared, 1e-9)
