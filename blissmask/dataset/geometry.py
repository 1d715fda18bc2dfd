"""How a picture is brought to its training size; photo and mask go through the same steps, or they would no longer lie on each other.

H, W: rows and columns. Sizes are (width, height).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.resize import resize_weights
from blissmask.media.image import resize_rgb

DType = TypeVar("DType", np.uint8, np.float32)

_WASTE = 16
"""How many times the pixels that are kept may be made by enlarging; beyond it only the part that is kept is enlarged.

A picture of 1x8000
pixels would become four million pixels high before all but two thousand of them were cut off."""
_MARGIN = 4
"""Pixels around the part that is kept which its edges are computed from: three of Lanczos, one of rounding."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Scale to ``scaled_wh``, then cut ``size_wh`` out at ``crop_xy``.

    Attributes:
        source_wh: size of the upright picture.
        scaled_wh: size after scaling; covers ``size_wh``.
        crop_xy: left and upper edge of what is kept.
        size_wh: the training size, multiples of the family's grid.
    """

    source_wh: tuple[int, int]
    scaled_wh: tuple[int, int]
    crop_xy: tuple[int, int]
    size_wh: tuple[int, int]

    def __str__(self) -> str:
        """Return ``3000x2000 -> 1248x832, crop 1248x832+0+0``."""
        (source_w, source_h), (scaled_w, scaled_h), (width, height) = self.source_wh, self.scaled_wh, self.size_wh
        return (
            f"{source_w}x{source_h} -> {scaled_w}x{scaled_h}, crop {width}x{height}+{self.crop_xy[0]}+{self.crop_xy[1]}"
        )

    @property
    def kept_share(self) -> float:
        """Return which share of the picture's area is kept."""
        (width, height), (scaled_w, scaled_h) = self.size_wh, self.scaled_wh
        return width * height / (scaled_w * scaled_h)

    def fit_rgb(self, rgb_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring colours to the training size: Lanczos up, area average down. The array must be ``source_wh`` large."""
        part_HW3, geometry = self._without_waste(rgb_HW3)
        return np.ascontiguousarray(geometry._crop(resize_rgb(part_HW3, geometry.scaled_wh)))

    def fit_weights(self, weights_HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring mask weights to the training size: nearest up, area average down.

        A mask of another size than the picture is brought to the picture's size first, so that it is cut exactly where
        the picture is.
        """
        part_HW, geometry = self._without_waste(resize_weights(weights_HW, self.source_wh))
        return np.ascontiguousarray(geometry._crop(resize_weights(part_HW, geometry.scaled_wh)))

    def _without_waste(self, array: NDArray[DType]) -> tuple[NDArray[DType], Geometry]:
        """Return the part of the source that is worth scaling, and the geometry for it; mostly the whole and this one.

        Photo and mask give the same part. It may lie half a pixel of the training size beside where the whole would
        have put it.
        """
        enlarged = self.scaled_wh[0] >= self.source_wh[0] and self.scaled_wh[1] >= self.source_wh[1]
        if not enlarged or self.kept_share * _WASTE >= 1:
            return array, self
        (left, right), (top, bottom) = (self._needed(axis) for axis in (0, 1))
        scale_x, scale_y = (scaled / source for scaled, source in zip(self.scaled_wh, self.source_wh, strict=True))
        scaled_wh = (round((right - left) * scale_x), round((bottom - top) * scale_y))
        crop_xy = (self.crop_xy[0] - round(left * scale_x), self.crop_xy[1] - round(top * scale_y))
        return array[top:bottom, left:right], Geometry((right - left, bottom - top), scaled_wh, crop_xy, self.size_wh)

    def _needed(self, axis: int) -> tuple[int, int]:
        """Return first and end of the source pixels along an axis (0 for columns) that the kept part is computed from."""
        source, scaled = self.source_wh[axis], self.scaled_wh[axis]
        start, end = self.crop_xy[axis], self.crop_xy[axis] + self.size_wh[axis]
        return max(0, start * source // scaled - _MARGIN), min(source, -(-end * source // scaled) + _MARGIN)

    def _crop(self, array: NDArray[DType]) -> NDArray[DType]:
        (left, top), (width, height) = self.crop_xy, self.size_wh
        return array[top : top + height, left : left + width]


def cover(source_wh: tuple[int, int], size_wh: tuple[int, int]) -> Geometry:
    """Return the geometry that scales a picture until it covers ``size_wh`` and cuts the rest off evenly.

    Source: musubi-tuner's ``resize_image_to_bucket``: the larger of the two ratios, halves rounded up, the odd pixel
    cut right and below.
    """
    scale = max(size_wh[0] / source_wh[0], size_wh[1] / source_wh[1])
    scaled_wh = (int(source_wh[0] * scale + 0.5), int(source_wh[1] * scale + 0.5))
    crop_xy = ((scaled_wh[0] - size_wh[0]) // 2, (scaled_wh[1] - size_wh[1]) // 2)
    return Geometry(source_wh, scaled_wh, crop_xy, size_wh)
