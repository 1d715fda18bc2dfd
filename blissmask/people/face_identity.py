"""Recognise the subject: the faces of a photo are compared with the faces of reference photos.

A face reader finds faces and computes embeddings; the decision itself is pure (:func:`decide`). H, W: rows and columns;
3 = RGB; R = reference faces; D = length of an embedding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import InputError, MaskError, Problem
from blissmask.people.faces.face_reader import MIN_FACE_PIXELS, Face, FaceReader, Thresholds
from blissmask.people.people_backend import Choice, Person, Verdict
from blissmask.vision.detection import overlaps
from blissmask.vision.regions import Box

MIN_COVER = 0.5
"""Smallest share of a face that its owner covers; by eye. Of masks that do not overlap, one at most covers more."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference photo.

    Attributes:
        name: its name in messages, e.g. its path.
        rgb_HW3: uint8 RGB.
    """

    name: str
    rgb_HW3: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One face of a photo, compared with the subject.

    Attributes:
        distance: to the nearest reference.
        negative: distance to the nearest negative, None without negatives.
        clear: whether the face is large and frontal enough for the distance to be trusted.
    """

    distance: float
    negative: float | None = None
    clear: bool = True

    @property
    def claimed(self) -> bool:
        """Whether the face is nearer to a negative than to the subject."""
        return self.negative is not None and self.distance >= self.negative


@dataclass(frozen=True, slots=True)
class Decision:
    """Which of the candidates is the subject.

    Attributes:
        verdict: whether the subject was found.
        face: position in the list of candidates, None when none is the subject.
        distance: of the nearest candidate that no negative claims, or of any when negatives claim all.
        margin: how much farther the runner-up is, None without one.
    """

    verdict: Verdict
    face: int | None
    distance: float | None
    margin: float | None


def decide(candidates: Sequence[Candidate], thresholds: Thresholds) -> Decision:
    """Decide which face is the subject's.

    - A face that is nearer to a negative than to the subject is not the subject's.
    - The nearest of the other faces is found if it lies within ``max_distance``.
    - It is uncertain if another face is within ``max_distance`` too and less than ``min_margin`` farther: a twin, a
      mirror, a poster.
    - It is uncertain if it is unclear and not nearer by ``unclear_tighter``.
    - Beyond ``max_distance`` it is uncertain if it is clear, lies within ``uncertain_band``, and the runner-up is
      ``min_margin`` farther. Otherwise the subject is absent.
    """
    if not candidates:
        return Decision(Verdict.NO_FACE, face=None, distance=None, margin=None)
    allowed = [face for face, candidate in enumerate(candidates) if not candidate.claimed]
    if not allowed:
        distance = min(candidate.distance for candidate in candidates)
        return Decision(Verdict.ABSENT, face=None, distance=distance, margin=None)

    def distance_of(face: int) -> float:
        return candidates[face].distance

    ranked = sorted(allowed, key=distance_of)
    best = candidates[ranked[0]]
    runner_up = candidates[ranked[1]].distance if len(ranked) > 1 else None
    margin = None if runner_up is None else runner_up - best.distance
    apart = margin is None or margin >= thresholds.min_margin
    rival = runner_up is not None and runner_up <= thresholds.max_distance
    verdict = _verdict(best, apart=apart, rival=rival, thresholds=thresholds)
    face = None if verdict is Verdict.ABSENT else ranked[0]
    return Decision(verdict, face=face, distance=best.distance, margin=margin)


def _verdict(best: Candidate, *, apart: bool, rival: bool, thresholds: Thresholds) -> Verdict:
    """Return the verdict on the nearest face.

    Args:
        best: the nearest face that no negative claims.
        apart: whether the runner-up is ``min_margin`` farther, or there is none.
        rival: whether the runner-up is within ``max_distance`` too.
        thresholds: of the face reader.
    """
    if best.distance > thresholds.max_distance:
        near = best.distance <= thresholds.max_distance + thresholds.uncertain_band
        return Verdict.UNCERTAIN if near and apart and best.clear else Verdict.ABSENT
    if rival and not apart:
        return Verdict.UNCERTAIN
    if not best.clear and best.distance > thresholds.max_distance - thresholds.unclear_tighter:
        return Verdict.UNCERTAIN
    return Verdict.FOUND


def strangers(candidates: Sequence[Candidate], owners: Sequence[int | None], thresholds: Thresholds) -> frozenset[int]:
    """Return the people who are certainly not the subject.

    They own a clear face that a negative claims or that lies beyond the uncertain band. A person who also owns a face
    that may be the subject's is not among them: with a face on a shirt or in a picture frame, either may be the
    person's own.

    Args:
        candidates: the faces.
        owners: the owner of each face, see :func:`face_owners`.
        thresholds: of the face reader.
    """
    farthest = thresholds.max_distance + thresholds.uncertain_band
    others, possible_subjects = set(), set()
    for candidate, owner in zip(candidates, owners, strict=True):
        if owner is None:
            continue
        if not candidate.claimed and candidate.distance <= farthest:
            possible_subjects.add(owner)
        elif candidate.clear:
            others.add(owner)
    return frozenset(others - possible_subjects)


def nearest(embedding_D: NDArray[np.float32], known_RD: NDArray[np.float32]) -> float:
    """Return the Euclidean distance of an embedding to the nearest of at least one known embedding."""
    return float(np.linalg.norm(known_RD - embedding_D, axis=1).min())


def read_references(reader: FaceReader, references: Iterable[Reference]) -> list[Face]:
    """Return the one face of each reference photo.

    A small face is accepted, though it is a poor reference; the task warns of it.

    Raises:
        MaskError: some photos do not hold exactly one face, or the face is turned away; names all of them.
    """
    known: list[Face] = []
    problems: list[Problem] = []
    for reference in references:
        faces = [face for face in reader.faces(reference.rgb_HW3) if face.sure]
        what, fix = _reference_problem(faces)
        if what:
            problems.append(Problem(what, (reference.name,), fix))
        else:
            known += faces
    if problems:
        raise MaskError.several(problems)
    return known


def _reference_problem(faces: Sequence[Face]) -> tuple[str, str]:
    """Return the fault of a reference photo's faces and its remedy; two empty texts for a good photo."""
    frontal = f"use a photo that shows the face from the front, {MIN_FACE_PIXELS} pixels wide or more"
    if not faces:
        return "no clear face is in the reference photo", frontal
    if len(faces) > 1:
        return f"{len(faces)} faces are in the reference photo; there must be exactly one", "crop it to the one person"
    if faces[0].turned_away:
        return "the face in the reference photo is turned away", frontal
    return "", ""


def face_owners(faces: Sequence[Box], people: Sequence[Person]) -> list[int | None]:
    """Return the owner of each face as a position among ``people``, None for a face without an owner.

    A face belongs to the person who covers most of it, and at least half. A person covers it with their own face box
    where the backend found one (as intersection over union), otherwise with their mask (as a share of the face).
    """
    return [_owner(face, people) for face in faces]


class FaceIdentity:
    """Recognises one subject by the face.

    Args:
        reader: finds and embeds faces.
        references_RD: embeddings of the subject, at least one.
        negatives_RD: embeddings of people who are not the subject; may be empty.
        thresholds: distances that decide; the reader's own when None.

    Raises:
        InputError: there is no reference.
    """

    def __init__(
        self,
        reader: FaceReader,
        references_RD: Sequence[NDArray[np.float32]],
        negatives_RD: Sequence[NDArray[np.float32]] = (),
        *,
        thresholds: Thresholds | None = None,
    ) -> None:
        if not len(references_RD):
            raise InputError(
                "there is no reference photo of the subject", fix="name at least one photo that shows only the subject"
            )
        self.thread_safe = reader.thread_safe
        self._reader = reader
        self._references = np.stack(list(references_RD))
        self._negatives = np.stack(list(negatives_RD)) if len(negatives_RD) else None
        self._thresholds = thresholds or reader.thresholds

    def choose(self, rgb_HW3: NDArray[np.uint8], people: Sequence[Person], *, others: Collection[int] = ()) -> Choice:
        """Return which of ``people`` the subject is; as safe to call from several threads as the reader.

        A subject whose face was found but who has no mask is uncertain, and ``person`` is None.

        Args:
            rgb_HW3: the photo.
            people: everybody in it.
            others: positions of people who are known to be somebody else; their faces decide nothing.
        """
        found = self._reader.faces(rgb_HW3)
        owned = zip(found, face_owners([face.box_xyxy for face in found], people), strict=True)
        possible = [(face, owner) for face, owner in owned if owner not in others]
        candidates = [self._candidate(face) for face, _ in possible]
        owners = [owner for _, owner in possible]
        decision = decide(candidates, self._thresholds)
        if decision.face is None:
            person, verdict = None, decision.verdict
        else:
            person = owners[decision.face]
            verdict = Verdict.UNCERTAIN if person is None else decision.verdict
        return Choice(
            verdict=verdict,
            person=person,
            distance=decision.distance,
            margin=decision.margin,
            strangers=strangers(candidates, owners, self._thresholds).union(others),
        )

    def _candidate(self, face: Face) -> Candidate:
        negative = None if self._negatives is None else nearest(face.embedding_D, self._negatives)
        distance = nearest(face.embedding_D, self._references)
        return Candidate(distance, negative=negative, clear=face.clear)


def _owner(face: Box, people: Sequence[Person]) -> int | None:
    best, best_cover = None, MIN_COVER
    for index, person in enumerate(people):
        cover = _cover(face, person)
        if cover >= best_cover:
            best, best_cover = index, cover
    return best


def _cover(face: Box, person: Person) -> float:
    if person.face_box_xyxy is not None:
        iou_1, _ = overlaps(np.array(face), np.array([person.face_box_xyxy]))
        return float(iou_1[0])
    left, top, right, bottom = (max(0, round(edge)) for edge in face)
    inside = person.mask_HW[top:bottom, left:right]
    return float(inside.mean()) if inside.size else 0.0
