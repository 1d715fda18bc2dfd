"""Turn what networks outline into people: duplicates dropped, every pixel owned by one person, largest person first.

H, W: rows and columns of the photo; h, w: of the window an outline lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.people.people_backend import Person

INSIDE = 0.5
SAME_PERSON = 0.7
"""Outlines that share this much of their joint area (intersection over union) are one person seen twice."""

MAX_PEOPLE = 100
"""The best so many outlines count.

Every person is a mask of the whole photo, and a network gone wrong may see hundreds.
"""

Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Outline:
    """One person as a network sees them.

    Attributes:
        score: the network's confidence, 0..1.
        left, top: where the window lies in the photo, in pixels; the window lies inside the photo.
        probability_hw: float32 0..1, how likely each pixel of the window is theirs; above 0.5 is inside.
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
    """Return one person per outline that is not a duplicate; a pixel that several claim goes to the likeliest, then to the better score.

    Args:
        outlines: in any order.
        size_wh: size of the photo.

    Returns:
        People with masks that do not overlap, largest first; without those of whom no pixel is left.
    """
    ranked = sorted(outlines, key=lambda outline: -outline.score)[:MAX_PEOPLE]
    kept = _without_duplicates([trimmed for outline in ranked if (trimmed := _trim(outline)) is not None])
    best = np.full((size_wh[1], size_wh[0]), INSIDE, np.float32)
    owner_HW = np.full(best.shape, -1, np.int16)
    for index, outline in enumerate(kept):
        wins = outline.probability_hw > best[outline.window]
        owner_HW[outline.window][wins] = index
        best[outline.window][wins] = outline.probability_hw[wins]
    people = [_person(owner_HW, index, outline) for index, outline in enumerate(kept)]
    found = [(area, person) for area, person in people if area]
    return [person for _, person in sorted(found, key=lambda pair: -pair[0])]


def _trim(outline: Outline) -> Outline | None:
    """Cut an outline's window down to what is inside; None when nothing is."""
    inside = outline.probability_hw > INSIDE
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return None
    part = outline.probability_hw[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Outline(outline.score, outline.left + int(columns[0]), outline.top + int(rows[0]), part)


def _without_duplicates(ranked: Sequence[Outline]) -> list[Outline]:
    kept: list[Outline] = []
    for outline in ranked:
        if all(_shared(outline, other) < SAME_PERSON for other in kept):
            kept.append(outline)
    return kept


def _shared(first: Outline, second: Outline) -> float:
    """Return intersection over union of two outlines; only where their windows meet can they share anything."""
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


def _person(owner_HW: NDArray[np.int16], index: int, outline: Outline) -> tuple[int, Person]:
    """Return the pixels that an outline won, counted and as a person."""
    own = owner_HW[outline.window] == index
    mask_HW = np.zeros(owner_HW.shape, bool)
    mask_HW[outline.window] = own
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    ends = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)
    left, top, right, bottom = (int(end) for end in ends)
    box = (
        float(left + outline.left),
        float(top + outline.top),
        float(right + outline.left),
        float(bottom + outline.top),
    )
    return int(np.count_nonzero(own)), Person(mask_HW=mask_HW, box_xyxy=box, score=outline.score)
