"""A photo with its smaller copies, so that any crop of it is cut quickly and without aliasing.

H, W: rows and columns; h, w: rows and columns of a crop; 3 = RGB. Coordinates are continuous (see ``regions.py``).
"""

from __future__ import annotations

import functools
import hashlib
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.regions import Box, Matrix, invert, pixel_matrix

Window = tuple[int, int, int, int]
"""left, top, right, bottom, whole pixels; right and bottom are exclusive."""

SMALLEST_COPY = 128
"""No copy is made whose longer side would be shorter than this: 128 pixels is the smallest input of the networks."""


class Photo:
    """One RGB photo and copies of it at half, quarter, ... size.

    Args:
        rgb_HW3: uint8, at least one pixel; kept, not copied, and must not change while the photo is in use.
    """

    def __init__(self, rgb_HW3: NDArray[np.uint8]) -> None:
        self.rgb_HW3 = rgb_HW3
        self.height, self.width = rgb_HW3.shape[:2]

    @property
    def box(self) -> Box:
        """The box of the whole photo."""
        return 0.0, 0.0, float(self.width), float(self.height)

    @functools.cached_property
    def digest(self) -> bytes:
        """A hash of size and pixels: equal photos have equal digests."""
        checksum = hashlib.blake2b(str(self.rgb_HW3.shape).encode(), digest_size=16)
        checksum.update(np.ascontiguousarray(self.rgb_HW3).data)
        return checksum.digest()

    @functools.cached_property
    def _copies(self) -> list[NDArray[np.uint8]]:
        copies = [self.rgb_HW3]
        while max(copies[-1].shape[:2]) >= 2 * SMALLEST_COPY:
            height, width = copies[-1].shape[:2]
            half_wh = (max(1, width // 2), max(1, height // 2))
            copies.append(np.asarray(cv2.resize(copies[-1], half_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8))
        return copies

    def forget_copies(self) -> None:
        """Free the smaller copies, a third of the photo's memory; they are made again when a crop is cut."""
        self.__dict__.pop("_copies", None)

    def cut(self, to_crop: Matrix, size: int, *, repeat_border: bool = False) -> NDArray[np.uint8]:
        """Cut a crop of ``size`` x ``size`` pixels.

        Args:
            to_crop: matrix from photo to crop coordinates.
            size: side of the crop, pixels.
            repeat_border: pixels outside the photo repeat its border; otherwise they are black.

        Returns:
            uint8 (size, size, 3).
        """
        scale = math.sqrt(abs(float(np.linalg.det(to_crop[:, :2]))))
        # Bilinear sampling reads 2x2 pixels, so it may shrink by at most two; the copies do the rest.
        halvings = max(0, math.floor(-math.log2(scale))) if scale > 0 else 0
        source = self._copies[min(halvings, len(self._copies) - 1)]
        to_photo = np.diag([self.width / source.shape[1], self.height / source.shape[0]])
        matrix = np.column_stack([to_crop[:, :2] @ to_photo, to_crop[:, 2]])
        border = cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT
        return np.asarray(_warp(source, matrix, (size, size), border), dtype=np.uint8)

    def resized(self, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the whole photo at ``size_wh``, averaged when shrinking."""
        if size_wh == (self.width, self.height):
            return self.rgb_HW3
        return np.asarray(cv2.resize(self.rgb_HW3, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def network_input(crop_hw3: NDArray[np.uint8], *, lowest: float = 0.0) -> NDArray[np.float32]:
    """Return a crop as the networks take it: float32 (1, h, w, 3), black is ``lowest`` (0 or -1) and white is 1."""
    unit = np.multiply(crop_hw3[None], np.float32((1 - lowest) / 255), dtype=np.float32)
    return np.add(unit, np.float32(lowest), dtype=np.float32)


def paste(
    crop_hwC: NDArray[np.float32], to_crop: Matrix, window: Window, *, outside: float | None = None
) -> NDArray[np.float32]:
    """Sample a crop back at the pixels of a window of the photo (bilinear).

    Args:
        crop_hwC: float32, (h, w) or (h, w, C) with C <= 4.
        to_crop: matrix from the coordinates of ``window`` to crop coordinates.
        window: the pixels to fill.
        outside: value beyond the crop; None repeats the crop's border.

    Returns:
        float32 of the window's size.
    """
    left, top, right, bottom = window
    shifted = to_crop.copy()
    shifted[:, 2] += to_crop[:, :2] @ (left, top)
    border, fill = (cv2.BORDER_REPLICATE, 0.0) if outside is None else (cv2.BORDER_CONSTANT, outside)
    return np.asarray(_warp(crop_hwC, invert(shifted), (right - left, bottom - top), border, fill), dtype=np.float32)


def _warp(
    source: NDArray[np.uint8] | NDArray[np.float32],
    matrix: Matrix,
    size_wh: tuple[int, int],
    border: int,
    fill: float = 0.0,
) -> object:
    return cv2.warpAffine(
        source,
        pixel_matrix(matrix),
        size_wh,
        flags=cv2.INTER_LINEAR,
        borderMode=border,
        # OpenCV wants one value for each of four channels, however many there are.
        borderValue=(fill, fill, fill, fill),
    )
