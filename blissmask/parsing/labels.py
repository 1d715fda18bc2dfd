"""Clean the class numbers of a photo: remove specks and holes in faces.

What is returned is the array that was given, changed: a copy for a large photo would take as much memory again. H, W:
rows and columns; labels are uint8 class numbers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.masks.components import Binary, Parts, choose_parts
from blissmask.masks.refine import fill_holes

Labels = NDArray[np.uint8]


def drop_small_parts(labels_HW: Labels, *, min_pixels: int) -> Labels:
    """Give every connected part of fewer than ``min_pixels`` pixels to the class that borders it most."""

    def is_small(parts: Parts) -> Binary:
        return parts.areas_N < min_pixels

    # Not `np.unique`, which sorts a copy of all pixels.
    for label in range(int(labels_HW.max(initial=0)) + 1):
        small_HW = choose_parts(labels_HW == label, is_small, connectivity=4)
        for rows in _runs(np.asarray(small_HW.any(axis=1))):
            _, parts, stats, _ = cv2.connectedComponentsWithStats(small_HW[rows].view(np.uint8), connectivity=4)
            for part in range(1, len(stats)):
                _give_away(labels_HW, parts, part, stats[part], first_row=rows.start)
    return labels_HW


def fill_class_holes(labels_HW: Labels, label: int, *, max_pixels: int) -> Labels:
    """Fill holes of at most ``max_pixels`` pixels in the regions of one class.

    In a face these are teeth, nostrils and the glint of glasses.
    """

    def is_small(parts: Parts) -> Binary:
        return parts.areas_N <= max_pixels

    region = labels_HW == label
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not len(rows):
        return labels_HW
    # Holes lie inside the box of the class, and a face is a small part of a large photo.
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    holes = fill_holes(region[window]) & ~region[window]
    labels_HW[window][choose_parts(holes, is_small, connectivity=8)] = label
    return labels_HW


def _runs(there_H: Binary) -> list[slice]:
    """Return the runs of true entries."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there_H, [False]]).astype(np.int8)))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _give_away(
    labels_HW: Labels, parts_hW: NDArray[np.int32], part: int, stats: NDArray[np.int32], *, first_row: int
) -> None:
    """Give a part to the class around it; ``parts_hW`` are numbers of parts from ``first_row`` on."""
    left, top, width, height = (int(value) for value in stats[:4])
    here = np.pad((parts_hW[top : top + height, left : left + width] == part).astype(np.uint8), 1)
    top += first_row
    window = (slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1))
    # At the picture's edge there is no pixel around.
    here = here[window[0].start - top + 1 :, window[1].start - left + 1 :]
    here = here[: labels_HW.shape[0] - window[0].start, : labels_HW.shape[1] - window[1].start]
    around = (cv2.dilate(here, np.ones((3, 3), np.uint8)) > 0) & (here == 0)
    neighbours = labels_HW[window][around]
    if neighbours.size:
        labels_HW[window][here > 0] = np.bincount(neighbours).argmax()
