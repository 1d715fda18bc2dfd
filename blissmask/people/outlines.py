"""Turn the outlines of a network into people: duplicates dropped, every pixel owned by one person.

H, W: rows and columns of the photo; h, w: of the window an outline lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.people.people_backend import Person

INSIDE = 0.5
"""Probability above which a pixel is the person's."""

SAME_PERSON = 0.7
"""Outlines with at least this intersection over union are one person found twice.

Chosen without a measurement; it equals Ultralytics' default for boxes, see ``yolo_export.py``.
"""

MAX_PEOPLE = 100
"""Only so many outlines with the best scores count.

Every person is a mask of the whole photo, and a broken network may find hundreds.
"""

Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Outline:
    """One person as a network found them.

    Attributes:
        score: the network's confidence, 0..1.
        left, top: corner of the window in the photo, pixels; the window lies inside the photo.
        probability_hw: float32 0..1, probability that a pixel of the window is the person's.
    """

    score: float
    left: int
    top: int
    probability_hw: NDArray[np.float32]

    @property
    def window(self) -> Window:
        """Rows and columns of the photo that the window covers."""
        rows, columns = self.probability_hw.shape
        return slice(self.top, self.top + rows), slice(self.left, self.left + columns)


def separate(outlines: Sequence[Outline], size_wh: tuple[int, int]) -> list[Person]:
    """Return one person per outline that is not a duplicate.

    A pixel that several outlines claim goes to the highest probability, and among equals to the better score.

    Args:
        outlines: in any order.
        size_wh: size of the photo.

    Returns:
        People with masks that do not overlap, largest first; people of whom no pixel is left are dropped.
    """
    ranked = sorted(outlines, key=_descending_score)[:MAX_PEOPLE]
    trimmed = [_trim(outline) for outline in ranked]
    kept = _without_duplicates([outline for outline in trimmed if outline is not None])
    best = np.full((size_wh[1], size_wh[0]), INSIDE, np.float32)
    owner_HW = np.full(best.shape, -1, np.int16)
    for index, outline in enumerate(kept):
        wins = outline.probability_hw > best[outline.window]
        owner_HW[outline.window][wins] = index
        best[outline.window][wins] = outline.probability_hw[wins]
    people = [_person(owner_HW, index, outline) for index, outline in enumerate(kept)]
    return sorted((person for person in people if person is not None), key=_descending_area)


def _descending_score(outline: Outline) -> float:
    return -outline.score


def _descending_area(person: Person) -> int:
    return -int(np.count_nonzero(person.mask_HW))


def _trim(outline: Outline) -> Outline | None:
    """Cut an outline's window down to what is inside; None when nothing is."""
    inside = outline.probability_hw > INSIDE
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return None
    part = outline.probability_hw[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    left, top = outline.left + int(columns[0]), outline.top + int(rows[0])
    return Outline(outline.score, left=left, top=top, probability_hw=part)


def _without_duplicates(ranked: Sequence[Outline]) -> list[Outline]:
    kept: list[Outline] = []
    for outline in ranked:
        if all(_shared(outline, other) < SAME_PERSON for other in kept):
            kept.append(outline)
    return kept


def _shared(first: Outline, second: Outline) -> float:
    """Return the intersection over union of two outlines; it is 0 where their windows do not meet."""
    top, bottom = max(first.top, second.top), min(first.window[0].stop, second.window[0].stop)
    left, right = max(first.left, second.left), min(first.window[1].stop, second.window[1].stop)
    if top >= bottom or left >= right:
        return 0.0
    parts = [
        one.probability_hw[top - one.top : bottom - one.top, left - one.left : right - one.left] > INSIDE
        for one in (first, second)
    ]
    both = int(np.count_nonzero(parts[0] & parts[1]))
    areas = sum(int(np.count_nonzero(one.probability_hw > INSIDE)) for one in (first, second))
    return both / (areas - both)


def _person(owner_HW: NDArray[np.int16], index: int, outline: Outline) -> Person | None:
    """Return the pixels that an outline won as a person, None when it won none."""
    own = owner_HW[outline.window] == index
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    if not len(rows):
        return None
    mask_HW = np.zeros(owner_HW.shape, bool)
    mask_HW[outline.window] = own
    box = (
        float(columns[0] + outline.left),
        float(rows[0] + outline.top),
        float(columns[-1] + 1 + outline.left),
        float(rows[-1] + 1 + outline.top),
    )
    return Person(mask_HW=mask_HW, box_xyxy=box, score=outline.score)
