"""What an instance backend is, and all of them by name: a photo in, people out. And how a search is answered.

Shapes: H, W rows and columns of the (oriented) photo; 3 = RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from blissmask.licence import Licence
from blissmask.plugins import Registry

if TYPE_CHECKING:
    # The command line reads the registry for its help screens, which must not wait for numpy.
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Person:
    """One person in one photo.

    Attributes:
        mask_HW: bool, True where the person is; masks of different people never overlap.
        box_xyxy: left, top, right, bottom in pixels.
        score: the backend's confidence, 0..1.
        face_box_xyxy: the face that belongs to the person, None when it is not seen.
        partial: True when only part of the person could be outlined, e.g. the head without a body.
    """

    mask_HW: NDArray[np.bool_]
    box_xyxy: tuple[float, float, float, float]
    score: float
    face_box_xyxy: tuple[float, float, float, float] | None = None
    partial: bool = False


class PeopleBackend(Protocol):
    """An instance backend.

    A file in ``people/`` is one when it defines ``backend(options: InstanceSection) -> PeopleBackend``.

    Attributes:
        licence: licence of the weights.
        identity: names the weights and their version, for fingerprints; changes when results would.
        thread_safe: whether several threads may call at once; otherwise photos are processed one at a time.
    """

    licence: Licence
    identity: str
    thread_safe: bool

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        """Return everybody in an RGB photo, largest first."""


class Verdict(StrEnum):
    """The result of a search for the subject in one photo."""

    FOUND = "found"
    UNCERTAIN = "uncertain"
    ABSENT = "not in this photo"
    NO_FACE = "no face"


@dataclass(frozen=True, slots=True)
class Choice:
    """Who in a photo is the subject.

    Attributes:
        verdict: whether the subject was found.
        person: position in the list of people, None when nobody is the subject.
        distance: distance of the nearest face to the references, None without a face.
        margin: how much farther the runner-up is, None without one.
        strangers: positions of people who are certainly somebody else, by a clear face of their own.
    """

    verdict: Verdict
    person: int | None
    distance: float | None
    margin: float | None
    strangers: frozenset[int] = frozenset()


PEOPLE = Registry(package="blissmask.people", marker="backend", noun="instance backend")
"""The instance backends by name: a file of this folder that defines ``backend(...)`` is one."""
