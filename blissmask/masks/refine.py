"""Refine a mask's outline: fill holes, drop specks, grow, shrink, feather.

:func:`finish` does the first two and :func:`move_outline` the next two, to tiers as :func:`to_tiers` returns them.
Arrays are (H, W); a tier is its position in ``TIERS``.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.masks.components import Binary, Parts, choose_parts, strips
from blissmask.masks.tiers import TIERS, WeightTier

FACE_HOLE = 0.1
"""A hole of up to this share of all face pixels is part of the face: glasses, an open mouth.

A larger one shows something else: a hand, or a person behind.
"""

_FACE, _BACKGROUND = TIERS.index(WeightTier.FACE), TIERS.index(WeightTier.BACKGROUND)


def to_tiers(labels_HW: NDArray[np.uint8], classes: Sequence[WeightTier]) -> NDArray[np.uint8]:
    """Turn class numbers into tiers.

    Args:
        labels_HW: class numbers; those without a tier become background.
        classes: the tier of each class number.
    """
    lookup = np.full(256, _BACKGROUND, dtype=np.uint8)
    lookup[: len(classes)] = [TIERS.index(tier) for tier in classes]
    return lookup[labels_HW]


def finish(tiers_HW: NDArray[np.uint8], *, min_pixels: int) -> NDArray[np.uint8]:
    """Fill holes in faces, then drop specks of people.

    Args:
        tiers_HW: tiers, as :func:`to_tiers` returns them.
        min_pixels: connected parts of people with fewer pixels become background.

    Returns:
        Tiers of the same shape. Background may be new; no other tier appears that was not there.
    """
    # One full-size array after the other: those of a large photo would take half a gigabyte together.
    result = tiers_HW.copy()
    result[_small_holes(tiers_HW == _FACE)] = _FACE
    result[~drop_specks(result != _BACKGROUND, min_pixels=min_pixels)] = _BACKGROUND
    return result


def move_outline(tiers_HW: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """Move the outline of people, outwards when positive and inwards when negative; new pixels take the nearest tier.

    Returns:
        Tiers of the same shape. Background may be new; no other tier appears that was not there.
    """
    if pixels == 0:
        return tiers_HW
    # `grow_grey` treats 0 as "nobody", so tiers are counted from background meanwhile; bytes wrap.
    from_background = np.uint8(_BACKGROUND)
    moved = grow_grey(tiers_HW - from_background, pixels)
    moved += from_background
    return moved


def coverage(tiers_HW: NDArray[np.uint8]) -> dict[WeightTier, float]:
    """Return the share of the pixels of each tier, 0..1."""
    # Not `bincount`, which makes eight bytes of every pixel.
    pixels = max(1, tiers_HW.size)
    return {tier: np.count_nonzero(tiers_HW == number) / pixels for number, tier in enumerate(TIERS)}


def fill_holes(region_HW: Binary) -> Binary:
    """Fill every hole that does not touch the picture's border."""
    holes_HW = choose_parts(~region_HW, _inside, connectivity=4)
    return region_HW | holes_HW


def drop_specks(region_HW: Binary, *, min_pixels: int) -> Binary:
    """Remove connected parts (8-neighbourhood) of fewer than ``min_pixels`` pixels from a region, and return it."""

    def is_large(parts: Parts) -> Binary:
        return parts.areas_N >= min_pixels

    return choose_parts(region_HW, is_large, connectivity=8)


def grow(region_HW: Binary, pixels: int) -> Binary:
    """Move the outline by ``pixels`` of straight-line distance, outwards when positive and inwards when negative."""
    if pixels == 0 or not region_HW.any():
        return region_HW.copy()
    if pixels > 0:
        distance = cv2.distanceTransform((~region_HW).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.asarray(distance <= pixels)
    # The picture's border is not an outline: a person who is cut off by it must not shrink away from it.
    distance = cv2.distanceTransform(region_HW.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(region_HW & ((distance > -pixels) | region_HW.all()))


def grow_grey(grey_HW: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """Move the outline of everything above 0; new pixels take the value of the nearest old one.

    A large picture is done in strips: distances and numbers of the nearest pixels take 8 bytes for each pixel.
    """
    moved = np.empty_like(grey_HW)
    # Nothing farther away than `pixels` decides. OpenCV's way to the nearest pixel may lead a little farther round.
    beside = 2 * abs(pixels) + 2
    for rows in strips(grey_HW.shape, least_rows=2 * beside):
        top = max(0, rows.start - beside)
        part = _moved(grey_HW[top : rows.stop + beside], pixels)
        moved[rows] = part[rows.start - top :][: rows.stop - rows.start]
    return moved


def _moved(grey_HW: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    person = grey_HW > 0
    target = grow(person, pixels)
    if pixels <= 0 or not person.any():
        return np.where(target, grey_HW, np.uint8(0))
    _, nearest = cv2.distanceTransformWithLabels(
        (~person).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value_of_label = np.zeros(int(nearest.max()) + 1, dtype=np.uint8)
    value_of_label[nearest[person]] = grey_HW[person]
    return np.where(target, value_of_label[nearest], np.uint8(0))


def feather(grey_HW: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    """Soften all outlines with a Gaussian whose sigma is half of ``pixels``; 0 changes nothing."""
    if pixels <= 0:
        return grey_HW
    return np.asarray(cv2.GaussianBlur(grey_HW, (0, 0), pixels / 2), dtype=np.uint8)


def _small_holes(face_HW: Binary) -> Binary:
    """Return the pixels of the holes that are small enough to be part of the face."""
    most = FACE_HOLE * np.count_nonzero(face_HW)

    def is_small_hole(parts: Parts) -> Binary:
        return _inside(parts) & (parts.areas_N <= most)

    return choose_parts(~face_HW, is_small_hole, connectivity=4)


def _inside(parts: Parts) -> Binary:
    return ~parts.at_border_N
