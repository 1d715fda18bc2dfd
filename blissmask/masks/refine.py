"""Shape a mask's outline: fill holes, drop specks, grow, shrink, feather. Arrays are (H, W)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Binary = NDArray[np.bool_]


def fill_holes(region_HW: Binary) -> Binary:
    """Fill every hole that does not touch the picture's border."""
    count, labels, _, _ = cv2.connectedComponentsWithStats((~region_HW).astype(np.uint8), connectivity=4)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    outside = np.zeros(count, dtype=bool)
    outside[border] = True
    outside[0] = False
    return np.asarray(~outside[labels], dtype=np.bool_)


def drop_specks(region_HW: Binary, *, min_pixels: int) -> Binary:
    """Remove connected parts (8-neighbourhood) of fewer than ``min_pixels`` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(region_HW.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    keep[0] = False
    return np.asarray(keep[labels])


def grow(region_HW: Binary, pixels: int) -> Binary:
    """Move the outline outwards by ``pixels`` (inwards when negative), measured as straight-line distance."""
    if pixels == 0 or not region_HW.any():
        return region_HW.copy()
    if pixels > 0:
        distance = cv2.distanceTransform((~region_HW).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.asarray(distance <= pixels)
    # The picture's border is not an outline: a person cut by it must not shrink away from it.
    distance = cv2.distanceTransform(region_HW.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(region_HW & ((distance > -pixels) | region_HW.all()))


def grow_grey(grey_HW: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """Move the outline of everything above 0; new pixels take the value of the nearest old one, so no new value appears."""
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
    """Soften all outlines with a Gaussian of radius ``pixels`` (its sigma is half of it); 0 changes nothing."""
    if pixels <= 0:
        return grey_HW
    return np.asarray(cv2.GaussianBlur(grey_HW, (0, 0), pixels / 2), dtype=np.uint8)
