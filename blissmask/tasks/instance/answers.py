"""What a person said about who is the subject in a photo, and finding that person again.

An answer is kept as boxes in shares of the picture's width and height: a later run may outline people anew, with
another network, and number them otherwise. H, W: rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.people.people_backend import Person

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in shares of width and height, 0..1."""

SAME_BOX = 0.5
"""Two boxes are of one person when they overlap by this much (intersection over union), as in object detection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said about one photo.

    Attributes:
        subject: who is the subject; None where that was not said.
        strangers: who is not.
    """

    subject: Box | None = None
    strangers: tuple[Box, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything was said."""
        return self.subject is not None or bool(self.strangers)

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return {
            "subject": None if self.subject is None else list(self.subject),
            "strangers": [list(box) for box in self.strangers],
        }

    def subject_among(self, people: Sequence[Person]) -> int | None:
        """Return who of ``people`` is the subject by this answer; None when nobody is where it was."""
        return None if self.subject is None else same_person(self.subject, people)

    def strangers_among(self, people: Sequence[Person]) -> set[int]:
        """Return who of ``people`` is somebody else by this answer."""
        found = (same_person(box, people) for box in self.strangers)
        return {position for position in found if position is not None}


NO_ANSWER = Answer()


def read_answer(value: object) -> Answer:
    """Return the answer in a JSON value; none where it holds none."""
    if not isinstance(value, dict):
        return NO_ANSWER
    strangers = value.get("strangers")
    boxes = [_read_box(box) for box in strangers] if isinstance(strangers, list) else []
    return Answer(_read_box(value.get("subject")), tuple(box for box in boxes if box is not None))


def same_person(box: Box, people: Sequence[Person]) -> int | None:
    """Return who of ``people`` stands in a box; None when nobody does."""
    overlaps = [_overlap(box, box_of(person.mask_HW)) for person in people]
    best = max(range(len(overlaps)), key=overlaps.__getitem__, default=0)
    return best if overlaps and overlaps[best] >= SAME_BOX else None


def box_of(mask_HW: NDArray[np.bool_]) -> Box:
    """Return the box around a mask; all zeros around an empty one."""
    height, width = mask_HW.shape
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not rows.size:
        return 0.0, 0.0, 0.0, 0.0
    left, right = columns[0] / width, (columns[-1] + 1) / width
    top, bottom = rows[0] / height, (rows[-1] + 1) / height
    # Four digits: a pixel of a picture of ten thousand.
    return round(float(left), 4), round(float(top), 4), round(float(right), 4), round(float(bottom), 4)


def _overlap(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    both = _area(first) + _area(second) - shared
    return shared / both if both else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _read_box(value: object) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(part, (int, float)) and 0 <= part <= 1 for part in value):
        return None
    left, top, right, bottom = map(float, value)
    return left, top, right, bottom
