"""Turn what networks outline into people: duplicates dropped, every pixel owned by one person, largest person first.

H, W: rows and columns of the photo; h, w: of the window an outline lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.people.protocol import Person

INSIDE = 0.5
SAME_PERSON = 0.7
"""Outlines that share this much of their joint area (intersection over union) are one person seen twice."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One person as a network sees them.

    Attributes:
        score: the network's confidence, 0..1.
        left, top: where the window lies in the photo, in pixels.
        probability_hw: float32 0..1, how likely each pixel of the window is theirs; above 0.5 is inside.
    """

    score: float
    left: int
    top: int
    probability_hw: NDArray[np.float32]

    def in_photo(self, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the inside as a mask of the whole photo."""
        mask_HW = np.zeros((size_wh[1], size_wh[0]), bool)
        mask_HW[self.window] = self.probability_hw > INSIDE
        return mask_HW

    @property
    def window(self) -> tuple[slice, slice]:
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
    kept = _without_duplicates(sorted(outlines, key=lambda outline: -outline.score), size_wh)
    best = np.full((size_wh[1], size_wh[0]), INSIDE, np.float32)
    owner_HW = np.full(best.shape, -1, np.int32)
    for index, outline in enumerate(kept):
        wins = outline.probability_hw > best[outline.window]
        owner_HW[outline.window][wins] = index
        best[outline.window][wins] = outline.probability_hw[wins]
    people = [_person(owner_HW == index, outline.score) for index, outline in enumerate(kept) if (owner_HW == index).any()]
    return sorted(people, key=lambda person: -int(person.mask_HW.sum()))


def _without_duplicates(ranked: Sequence[Outline], size_wh: tuple[int, int]) -> list[Outline]:
    kept: list[Outline] = []
    masks: list[NDArray[np.bool_]] = []
    for outline in ranked:
        mask = outline.in_photo(size_wh)
        if mask.any() and all(_shared(mask, other) < SAME_PERSON for other in masks):
            kept.append(outline)
            masks.append(mask)
    return kept


def _shared(first_HW: NDArray[np.bool_], second_HW: NDArray[np.bool_]) -> float:
    return float((first_HW & second_HW).sum() / (first_HW | second_HW).sum())


def _person(mask_HW: NDArray[np.bool_], score: float) -> Person:
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Person(mask_HW=mask_HW, box_xyxy=box, score=score)
