"""Clean the class numbers of a photo: remove specks and holes in faces.

H, W: rows and columns; labels are uint8 class numbers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.masks.refine import fill_holes

Labels = NDArray[np.uint8]


def drop_small_parts(labels_HW: Labels, *, min_pixels: int) -> Labels:
    """Give every connected part of fewer than ``min_pixels`` pixels to the class that borders it most."""
    result = labels_HW.copy()
    for label in np.flatnonzero(np.bincount(labels_HW.reshape(-1), minlength=1)):
        _, parts, stats, _ = cv2.connectedComponentsWithStats((result == label).astype(np.uint8), connectivity=4)
        for part in 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] < min_pixels):
            _give_away(result, parts, int(part), stats[part])
    return result


def fill_class_holes(labels_HW: Labels, label: int, *, max_pixels: int) -> Labels:
    """Fill holes of at most ``max_pixels`` pixels in the regions of one class.

    In a face these are teeth, nostrils and the glint of glasses.
    """
    region = labels_HW == label
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not len(rows):
        return labels_HW
    # Holes lie inside the box of the class, and a face is a small part of a large photo.
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    holes = (fill_holes(region[window]) & ~region[window]).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(holes, connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] <= max_pixels
    small[0] = False
    result = labels_HW.copy()
    result[window][small[parts]] = label
    return result


def _give_away(labels_HW: Labels, parts_HW: NDArray[np.int32], part: int, stats: NDArray[np.int32]) -> None:
    left, top, width, height = (int(value) for value in stats[:4])
    window = (slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1))
    here = (parts_HW[window] == part).astype(np.uint8)
    around = (cv2.dilate(here, np.ones((3, 3), np.uint8)) > 0) & (here == 0)
    neighbours = labels_HW[window][around]
    if neighbours.size:
        labels_HW[window][here > 0] = np.bincount(neighbours).argmax()
