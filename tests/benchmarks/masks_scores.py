"""What the mask benchmark counts: pure functions on label maps. H, W: rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TIER_NAMES = ("face", "body", "hair", "background")
FOUND_IOU = 0.5


def iou(one_HW: NDArray[np.bool_], two_HW: NDArray[np.bool_]) -> float:
    """Return intersection over union; 1 when both are empty."""
    union = np.count_nonzero(one_HW | two_HW)
    return np.count_nonzero(one_HW & two_HW) / union if union else 1.0


@dataclass
class TierScore:
    """Tiers against the truth, over many photos.

    Attributes:
        confusion: pixels by (true tier, given tier), positions in ``TIER_NAMES``.
        person_ious: per photo, everything but background.
    """

    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((4, 4), np.int64))
    person_ious: list[float] = field(default_factory=list)

    def add(self, truth_HW: NDArray[np.uint8], given_HW: NDArray[np.uint8]) -> None:
        """Count one photo; both maps hold positions in ``TIER_NAMES``."""
        pairs = truth_HW.astype(np.int64) * 4 + given_HW
        self.confusion += np.bincount(pairs.reshape(-1), minlength=16).reshape(4, 4)
        self.person_ious.append(iou(truth_HW != 3, given_HW != 3))

    def tier_ious(self) -> list[float]:
        """Return IoU per tier over all pixels of all photos."""
        right = np.diag(self.confusion)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - right
        return (right / np.maximum(union, 1)).tolist()


@dataclass
class PeopleScore:
    """Outlined people against the truth: each true person with the best mask; a person nobody outlined counts 0."""

    ious: list[float] = field(default_factory=list)

    def add(self, truth_HW: NDArray[np.uint8], masks_HW: Sequence[NDArray[np.bool_]]) -> None:
        """Count one photo; the truth holds 0 for nobody and a number per person."""
        for number in np.unique(truth_HW[truth_HW > 0]):
            self.ious.append(max((iou(truth_HW == number, mask) for mask in masks_HW), default=0.0))

    @property
    def found(self) -> int:
        """How many people were outlined at IoU 0.5 or better."""
        return sum(value >= FOUND_IOU for value in self.ious)


@dataclass
class SubjectScore:
    """The search for one subject against the truth.

    Attributes:
        right: searches that ended right: the subject's mask, or nobody when absent.
        wrong: searches that gave another person's mask, or anybody's when absent.
        missed: searches that gave nothing although the subject is there.
        abstained: searches whose verdict was uncertain, whatever they gave.
    """

    right: int = 0
    wrong: int = 0
    missed: int = 0
    abstained: int = 0
    subject_pixels: int = 0
    kept_pixels: int = 0
    bystander_pixels: int = 0
    leaked_pixels: int = 0

    def add(
        self, truth_HW: NDArray[np.uint8], subject: int, mask_HW: NDArray[np.bool_] | None, *, uncertain: bool
    ) -> None:
        """Count one search; ``subject`` is the person's number in the truth, 0 when absent; ``mask_HW`` None when nobody was given."""
        self.abstained += uncertain
        given = np.zeros(truth_HW.shape, bool) if mask_HW is None else mask_HW
        own, others = (truth_HW == subject) & (subject > 0), (truth_HW > 0) & (truth_HW != subject)
        self.subject_pixels += np.count_nonzero(own)
        self.kept_pixels += np.count_nonzero(own & given)
        self.bystander_pixels += np.count_nonzero(others)
        self.leaked_pixels += np.count_nonzero(others & given)
        if mask_HW is None:
            self.right += subject == 0
            self.missed += subject != 0
        elif np.count_nonzero(own & given) > np.count_nonzero(others & given):
            self.right += 1
        else:
            self.wrong += 1

    @property
    def searches(self) -> int:
        """How many searches were counted."""
        return self.right + self.wrong + self.missed
