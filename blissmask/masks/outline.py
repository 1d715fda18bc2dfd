"""From a backend's class numbers to tiers with finished outlines. Arrays are (H, W); a tier is its position in ``TIERS``."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.masks.refine import drop_specks, fill_holes, grow_grey
from blissmask.masks.tiers import TIERS, WeightTier

FACE_HOLE = 0.1
"""A hole up to this share of all face pixels is part of the face (glasses, an open mouth); a larger one is something else, seen through."""

_FACE, _BACKGROUND = TIERS.index(WeightTier.FACE), TIERS.index(WeightTier.BACKGROUND)


def to_tiers(labels_HW: NDArray[np.uint8], classes: Sequence[WeightTier]) -> NDArray[np.uint8]:
    """Turn class numbers into tiers; ``classes`` holds the tier of each number."""
    lookup = np.full(256, _BACKGROUND, dtype=np.uint8)
    lookup[: len(classes)] = [TIERS.index(tier) for tier in classes]
    return lookup[labels_HW]


def finish(tiers_HW: NDArray[np.uint8], *, min_pixels: int, grow_pixels: int) -> NDArray[np.uint8]:
    """Fill holes in faces, drop specks of people, then move the outline of people.

    Args:
        tiers_HW: tiers, as :func:`to_tiers` returns them.
        min_pixels: connected parts of people with fewer pixels become background.
        grow_pixels: outwards when positive, inwards when negative; new pixels take the nearest tier.

    Returns:
        Tiers of the same shape; no tier appears that was not there, but background.
    """
    result = tiers_HW.copy()
    result[_small_holes(tiers_HW == _FACE)] = _FACE
    people = result != _BACKGROUND
    result[people & ~drop_specks(people, min_pixels=min_pixels)] = _BACKGROUND
    # Growing treats 0 as "nobody", so tiers are counted from 1 meanwhile.
    numbered = np.where(result == _BACKGROUND, np.uint8(0), result + np.uint8(1))
    grown = grow_grey(numbered, grow_pixels)
    return np.where(grown == 0, np.uint8(_BACKGROUND), grown - np.uint8(1)).astype(np.uint8)


def coverage(tiers_HW: NDArray[np.uint8]) -> dict[WeightTier, float]:
    """Return the share of the pixels of each tier, 0..1."""
    counts = np.bincount(tiers_HW.reshape(-1), minlength=len(TIERS))
    return {tier: float(count) / max(1, tiers_HW.size) for tier, count in zip(TIERS, counts, strict=True)}


def _small_holes(face_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    holes = fill_holes(face_HW) & ~face_HW
    if not holes.any():
        return holes
    _, parts, stats, _ = cv2.connectedComponentsWithStats(holes.astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= FACE_HOLE * face_HW.sum()
    small[0] = False
    return np.asarray(small[parts], dtype=np.bool_)
