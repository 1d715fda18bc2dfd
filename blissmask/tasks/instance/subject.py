"""Find the subject in one picture, and follow it through the frames of a clip. H, W: rows and columns; 3 = RGB."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import MaskError
from blissmask.masks.bars import Content, find_content
from blissmask.people.face_identity import FaceIdentity
from blissmask.people.people_backend import Choice, PeopleBackend, Person, Verdict
from blissmask.tasks.instance.answers import NO_ANSWER, Answer

CARRY_OVERLAP = 0.5
"""A person is still the subject whose mask overlaps the subject's mask in the frame before by this much.

Intersection over union.
"""

FOLLOWING = 2
"""Raised when the same frames would follow somebody else; part of the settings of clips."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of looking for the subject in one picture.

    Attributes:
        mask_HW: bool, True on the subject; all False when it is not found.
        verdict: how sure we are.
        distance: of the nearest face to the references; None without a face or a reference.
        margin: how much farther the runner-up is; None without one.
        people: how many people there are.
        partial: True when only part of the subject could be outlined.
        carried: True when a clip's subject was recognised by its place, not by its face.
    """

    mask_HW: NDArray[np.bool_]
    verdict: Verdict
    distance: float | None
    margin: float | None
    people: int
    partial: bool = False
    carried: bool = False

    @property
    def present(self) -> bool:
        """Return whether anybody is in the mask."""
        return bool(self.mask_HW.any())

    def remembered(self) -> dict[str, object]:
        """Return the JSON values that the mask's note keeps."""
        return {
            "verdict": self.verdict.value,
            "distance": None if self.distance is None else round(self.distance, 4),
            "margin": None if self.margin is None else round(self.margin, 4),
            "people": self.people,
            "partial": self.partial,
            "carried": self.carried,
            "covered": round(float(self.mask_HW.mean()), 5),
        }


class SubjectFinder:
    """Finds one person in pictures, from several threads.

    Args:
        backend: outlines people; called by one thread at a time unless it and ``identity`` are ``thread_safe``.
        identity: recognises the subject; None when there is no reference.
        or_largest: take the largest person where the subject is not found.
    """

    def __init__(self, backend: PeopleBackend, identity: FaceIdentity | None, *, or_largest: bool) -> None:
        self._backend, self._identity, self._or_largest = backend, identity, or_largest
        safe = backend.thread_safe and (identity is None or identity.thread_safe)
        self._turn = contextlib.nullcontext() if safe else threading.Lock()

    def find(self, rgb_HW3: NDArray[np.uint8], answer: Answer = NO_ANSWER) -> Finding:
        """Look for the subject in one photo; what a person said about it comes first.

        Raises:
            MaskError: there is no reference and several people.
        """
        people, choice, others = self._look(rgb_HW3, answer)
        return self._finding(people, choice, rgb_HW3, others)

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        """Return everybody in a photo."""
        return self._outline(rgb_HW3)[0]

    def find_again(self, rgb_HW3: NDArray[np.uint8], before_HW: NDArray[np.bool_] | None) -> Finding:
        """Look for the subject in one frame of a clip.

        Args:
            rgb_HW3: the frame.
            before_HW: where the subject was in the frame looked at before. When no face is recognised, the person in
                that place is the subject, unless a clear face shows somebody else: after a cut a stranger may be in
                the place.

        Raises:
            MaskError: there is no reference and several people.
        """
        people, choice, _ = self._look(rgb_HW3)
        if choice.person is None and before_HW is not None:
            carried = _overlapping(people, before_HW)
            if carried is not None and carried not in choice.strangers:
                return _found(people, carried, choice, carried=True)
        return self._finding(people, choice, rgb_HW3)

    def _look(self, rgb_HW3: NDArray[np.uint8], answer: Answer = NO_ANSWER) -> tuple[list[Person], Choice, set[int]]:
        """Return everybody in a photo, who of them the subject is, and who is somebody else by the answer."""
        people, found, inside_HW3 = self._outline(rgb_HW3)
        others = answer.strangers_among(people)
        subject = answer.subject_among(people)
        if subject is not None:
            return people, Choice(Verdict.FOUND, subject, None, None), others
        with self._turn:
            return people, self._choose(inside_HW3, found, others), others

    def _outline(self, rgb_HW3: NDArray[np.uint8]) -> tuple[list[Person], list[Person], NDArray[np.uint8]]:
        """Return everybody in a photo in its own pixels, then in those of the content between bars, and the content."""
        content = find_content(rgb_HW3)
        inside_HW3 = np.ascontiguousarray(content.of(rgb_HW3))
        with self._turn:
            found = self._backend.people(inside_HW3)
        return [_in_whole_picture(person, content) for person in found], found, inside_HW3

    def _choose(self, inside_HW3: NDArray[np.uint8], people: Sequence[Person], others: set[int]) -> Choice:
        if self._identity is None:
            return _only_person(_all_but(others, people), or_largest=self._or_largest)
        return self._identity.choose(inside_HW3, people, others=others)

    def _finding(
        self, people: Sequence[Person], choice: Choice, rgb_HW3: NDArray[np.uint8], others: Collection[int] = ()
    ) -> Finding:
        if choice.person is not None:
            return _found(people, choice.person, choice)
        possible = _all_but(others, people)
        if possible and self._or_largest:
            return _found(people, possible[0], choice)
        # One byte, however large the picture: the findings of a clip without the subject wait for its last frame.
        nobody = np.broadcast_to(np.False_, rgb_HW3.shape[:2])
        return Finding(
            mask_HW=nobody,
            verdict=choice.verdict,
            distance=choice.distance,
            margin=choice.margin,
            people=len(people),
        )


def distance_text(distance: float | None) -> str:
    """Return ", distance 0.57", or nothing when there is none."""
    return "" if distance is None else f", distance {distance:.2f}"


def _all_but(others: Collection[int], people: Sequence[Person]) -> list[int]:
    """Return the positions of the people who are not among ``others``, the largest person first."""
    return [position for position in range(len(people)) if position not in others]


def _only_person(possible: Sequence[int], *, or_largest: bool) -> Choice:
    """Choose where there is no reference; ``possible`` are the positions of who may be the subject, largest first."""
    if len(possible) > 1 and not or_largest:
        raise MaskError(
            f"{len(possible)} people and no reference to tell them apart",
            fix="name a photo of the subject with `--reference`, "
            "or take the largest person with `--on-missing largest`",
        )
    if not possible:
        return Choice(Verdict.ABSENT, None, None, None)
    return Choice(Verdict.FOUND if len(possible) == 1 else Verdict.UNCERTAIN, possible[0], None, None)


def _found(people: Sequence[Person], position: int, choice: Choice, *, carried: bool = False) -> Finding:
    person = people[position]
    return Finding(
        mask_HW=person.mask_HW,
        verdict=choice.verdict,
        distance=choice.distance,
        margin=choice.margin,
        people=len(people),
        partial=person.partial,
        carried=carried,
    )


def _in_whole_picture(person: Person, content: Content) -> Person:
    """Return a person found in the content of a picture in the pixels of the whole picture."""
    if not content.has_bars:
        return person
    face = person.face_box_xyxy
    return dataclasses.replace(
        person,
        mask_HW=content.within(person.mask_HW, bars=False),
        box_xyxy=content.box_in_whole(person.box_xyxy),
        face_box_xyxy=None if face is None else content.box_in_whole(face),
    )


def _overlapping(people: Sequence[Person], before_HW: NDArray[np.bool_]) -> int | None:
    """Return who overlaps the subject's earlier mask by at least :data:`CARRY_OVERLAP`; None when nobody does."""
    overlaps = [_overlap(person.mask_HW, before_HW) for person in people]
    best = int(np.argmax(overlaps)) if overlaps else 0
    return best if overlaps and overlaps[best] >= CARRY_OVERLAP else None


def _overlap(first_HW: NDArray[np.bool_], second_HW: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(first_HW | second_HW))
    return int(np.count_nonzero(first_HW & second_HW)) / union if union else 0.0


class ClipFollower:
    """Follows the subject through the frames of one clip.

    Args:
        finder: finds the subject in single pictures.
    """

    def __init__(self, finder: SubjectFinder) -> None:
        self._finder = finder
        self._before_HW: NDArray[np.bool_] | None = None

    def look(self, rgb_HW3: NDArray[np.uint8]) -> Finding:
        """Look for the subject in the next frame; frames must come in order.

        Errors as in :meth:`SubjectFinder.find_again`.
        """
        finding = self._finder.find_again(rgb_HW3, self._before_HW)
        self._before_HW = finding.mask_HW if finding.present else None
        return finding
