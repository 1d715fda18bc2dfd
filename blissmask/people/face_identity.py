"""Recognise the subject: reference photos become embeddings, and each photo's faces are measured against them.

The decision is pure (:func:`decide`); a face reader only supplies faces and embeddings. H, W: rows and columns; 3 =
RGB; R = reference faces; D = length of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import InputError, MaskError, Problem
from blissmask.people.faces.face_reader import MIN_FACE_PIXELS, Face, FaceReader, Thresholds
from blissmask.people.people_backend import Choice, Person, Verdict
from blissmask.vision.detection import overlaps
from blissmask.vision.regions import Box


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

    @property
    def claimed(self) -> bool:
        """Say whether it is nearer to a negative than to the subject."""
        return self.negative is not None and self.distance >= self.negative


@dataclass(frozen=True, slots=True)
class Decision:
    """Which of the candidates is the subject; see :class:`Choice`, of which it is the part about faces."""

    verdict: Verdict
    face: int | None
    distance: float | None
    margin: float | None


def decide(candidates: Sequence[Candidate], thresholds: Thresholds) -> Decision:
    """Decide which face is the subject's.

    The nearest face within ``max_distance`` is found; within the uncertain band it is uncertain if the runner-up is
    ``min_margin`` farther.
    Two faces within ``max_distance`` and hardly apart (a twin, a mirror, a poster) make it uncertain which of them is
    meant. An unclear face is uncertain unless it is nearer still. A face nearer to a negative than to the subject is
    not the subject's.

    Returns:
        The decision; ``distance`` is that of the nearest face that no negative claims (of any face when they claim
        all).
    """
    if not candidates:
        return Decision(Verdict.NO_FACE, None, None, None)
    allowed = [face for face, seen in enumerate(candidates) if not seen.claimed]
    if not allowed:
        return Decision(Verdict.ABSENT, None, min(seen.distance for seen in candidates), None)
    ranked = sorted(allowed, key=lambda face: candidates[face].distance)
    best = candidates[ranked[0]]
    runner_up = candidates[ranked[1]].distance if len(ranked) > 1 else None
    margin = None if runner_up is None else runner_up - best.distance
    apart = margin is None or margin >= thresholds.min_margin
    verdict = _verdict(
        best, apart=apart, rival=runner_up is not None and runner_up <= thresholds.max_distance, thresholds=thresholds
    )
    return Decision(verdict, None if verdict is Verdict.ABSENT else ranked[0], best.distance, margin)


def _verdict(best: Candidate, *, apart: bool, rival: bool, thresholds: Thresholds) -> Verdict:
    if best.distance > thresholds.max_distance:
        near = best.distance <= thresholds.max_distance + thresholds.uncertain_band
        return Verdict.UNCERTAIN if near and apart and best.clear else Verdict.ABSENT
    if rival and not apart:
        return Verdict.UNCERTAIN
    if not best.clear and best.distance > thresholds.max_distance - thresholds.unclear_tighter:
        return Verdict.UNCERTAIN
    return Verdict.FOUND


def strangers(candidates: Sequence[Candidate], owners: Sequence[int | None], thresholds: Thresholds) -> frozenset[int]:
    """Return who is certainly not the subject: the owners of a clear face that a negative claims or that lies beyond the uncertain band.

    Whoever also has a face that might be the subject's is none: of a face drawn on a shirt or held in a frame, either
    may be the owner's.

    Args:
        candidates: the faces.
        owners: whose each of them is, see :func:`face_owners`.
        thresholds: how alike is alike enough.
    """
    farthest = thresholds.max_distance + thresholds.uncertain_band
    possible = [not seen.claimed and seen.distance <= farthest for seen in candidates]
    faces = list(zip(candidates, owners, possible, strict=True))
    others = {owner for seen, owner, may_be in faces if owner is not None and seen.clear and not may_be}
    return frozenset(others - {owner for _, owner, may_be in faces if may_be})


def nearest(embedding_D: NDArray[np.float32], known_RD: NDArray[np.float32]) -> float:
    """Return the Euclidean distance of an embedding to the nearest of at least one known."""
    return float(np.linalg.norm(known_RD - embedding_D, axis=1).min())


def read_references(reader: FaceReader, references: Iterable[Reference]) -> list[Face]:
    """Return the one face of each reference photo; a small one is a poor reference, which is worth a warning.

    Raises:
        MaskError: some photos do not hold exactly one face, or it is turned away; names all of them.
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
    """Return what is wrong with the faces of a reference photo and how to mend it; empty texts when nothing is."""
    frontal = f"use a photo that shows the face from the front, {MIN_FACE_PIXELS} pixels wide or more"
    if not faces:
        return "no clear face is in the reference photo", frontal
    if len(faces) > 1:
        return f"{len(faces)} faces are in the reference photo; there must be exactly one", "crop it to the one person"
    if faces[0].turned_away:
        return "the face in the reference photo is turned away", frontal
    return "", ""


def face_owners(faces: Sequence[Box], people: Sequence[Person]) -> list[int | None]:
    """Return, for each face, the position of the person it belongs to, None when it is nobody's.

    A person who knows their face owns the one it overlaps; otherwise the face belongs to whoever's mask covers most of
    it, at least half.
    """
    return [_owner(face, people) for face in faces]


class FaceIdentity:
    """Recognises one subject by the face.

    Args:
        reader: finds and embeds faces.
        references_RD: embeddings of the subject, at least one.
        negatives_RD: embeddings of people who are not the subject; may be empty.
        thresholds: how alike is alike enough; the reader's own when None.

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

    def choose(self, rgb_HW3: NDArray[np.uint8], people: Sequence[Person]) -> Choice:
        """Say which of ``people`` the subject is; as safe to call from several threads as the reader.

        A subject whose face is seen but whose body no one outlined is uncertain, and ``person`` is None.
        """
        faces = self._reader.faces(rgb_HW3)
        candidates = [self._candidate(face) for face in faces]
        owners = face_owners([face.box_xyxy for face in faces], people)
        others = strangers(candidates, owners, self._thresholds)
        decision = decide(candidates, self._thresholds)
        if decision.face is None:
            return Choice(decision.verdict, None, decision.distance, decision.margin, others)
        person = owners[decision.face]
        verdict = decision.verdict if person is not None else Verdict.UNCERTAIN
        return Choice(verdict, person, decision.distance, decision.margin, others)

    def _candidate(self, face: Face) -> Candidate:
        negative = None if self._negatives is None else nearest(face.embedding_D, self._negatives)
        return Candidate(nearest(face.embedding_D, self._references), negative, face.clear)


def _owner(face: Box, people: Sequence[Person]) -> int | None:
    left, top, right, bottom = face
    best, best_cover = None, 0.5
    for index, person in enumerate(people):
        if person.face_box_xyxy is not None:
            cover = float(overlaps(np.array(face), np.array([person.face_box_xyxy]))[0][0])
        else:
            inside = person.mask_HW[
                max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))
            ]
            cover = float(inside.mean()) if inside.size else 0.0
        if cover >= best_cover:
            best, best_cover = index, cover
    return best
