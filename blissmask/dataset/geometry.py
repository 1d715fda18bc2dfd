"""Bring a picture and its mask to the training size.

Both go through the same steps; otherwise the mask would no longer lie on the photo. H, W: rows and columns. Sizes are
(width, height).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.resize import resize_weights, same_framing
from blissmask.media.image import resize_rgb

_WINDOW = re.compile(r"\+(\d{1,9})\+(\d{1,9})$")
_WHOLE = re.compile(r"(\d{1,9})x(\d{1,9}) -> (\d{1,9})x(\d{1,9}), crop (\d{1,9})x(\d{1,9})\+(\d{1,9})\+(\d{1,9})")
DType = TypeVar("DType", np.uint8, np.float32)

_WASTE = 16
"""A picture is enlarged whole when at most this many times the kept pixels are made; else only the kept part is.

A picture of 1x8000 pixels would become four million pixels high before all but two thousand of them were cut off. Usual
photos are far below the limit, so they are scaled whole, as musubi-tuner scales them.
"""
_MARGIN = 4
"""Source pixels around the kept part that its edges depend on: three for Lanczos, one for rounding."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Scale to ``scaled_wh``, then cut out ``size_wh`` at ``crop_xy``.

    Attributes:
        source_wh: size of the upright picture.
        scaled_wh: size after scaling; covers ``size_wh``.
        crop_xy: left and upper edge of the kept part, in scaled pixels.
        size_wh: the training size; both sides are multiples of the family's grid.
    """

    source_wh: tuple[int, int]
    scaled_wh: tuple[int, int]
    crop_xy: tuple[int, int]
    size_wh: tuple[int, int]

    def __str__(self) -> str:
        """Return ``3000x2000 -> 1248x832, crop 1248x832+0+0``; cache entries remember this text."""
        source, scaled, size = (f"{width}x{height}" for width, height in (self.source_wh, self.scaled_wh, self.size_wh))
        left, top = self.crop_xy
        return f"{source} -> {scaled}, crop {size}+{left}+{top}"

    @property
    def kept_share(self) -> float:
        """Return the share of the picture's area that is kept, in (0, 1]."""
        (width, height), (scaled_w, scaled_h) = self.size_wh, self.scaled_wh
        return width * height / (scaled_w * scaled_h)

    @property
    def scale(self) -> float:
        """Return how many times as large the picture is after scaling; above 1 it is enlarged."""
        return self.scaled_wh[0] / self.source_wh[0]

    @property
    def is_centred(self) -> bool:
        """Return whether the kept part is the middle of the picture, as :func:`cover` takes it."""
        return self == cover(self.source_wh, self.size_wh)

    def with_window_of(self, text: str) -> Geometry | None:
        """Return the same geometry with the window that ``text`` has; None where more than the window differs."""
        match = _WINDOW.search(text)
        if match is None:
            return None
        moved = replace(self, crop_xy=(int(match[1]), int(match[2])))
        return moved if str(moved) == text else None

    def for_companion(self, source_wh: tuple[int, int]) -> Geometry:
        """Return how a picture that belongs to this one is fitted, such as a control picture.

        One of the same shape is cut at the same place; another one covers the training size.
        """
        covering = cover(source_wh, self.size_wh)
        if self.is_centred or not same_framing(source_wh, self.source_wh):
            return covering
        return replace(self, source_wh=source_wh)

    def fit_rgb(self, rgb_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring colours of size ``source_wh`` to the training size: Lanczos when enlarging, area average otherwise."""
        part_HW3, geometry = self._without_waste(rgb_HW3)
        return np.ascontiguousarray(geometry._crop(resize_rgb(part_HW3, geometry.scaled_wh)))

    def fit_weights(self, weights_HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring mask weights to the training size: nearest when enlarging, area average otherwise.

        A mask of another size is brought to the picture's size first, so that both are cut at exactly the same place.
        """
        part_HW, geometry = self._without_waste(resize_weights(weights_HW, self.source_wh))
        return np.ascontiguousarray(geometry._crop(resize_weights(part_HW, geometry.scaled_wh)))

    def _without_waste(self, array: NDArray[DType]) -> tuple[NDArray[DType], Geometry]:
        """Return the part of the source that is worth scaling, and the geometry for that part.

        It is the whole and ``self`` unless enlarging would waste memory, see :data:`_WASTE`. Photo and mask give the
        same part. Rounding may move it by half a pixel of the training size.
        """
        enlarged = self.scaled_wh[0] >= self.source_wh[0] and self.scaled_wh[1] >= self.source_wh[1]
        if not enlarged or self.kept_share * _WASTE >= 1:
            return array, self
        (left, right), (top, bottom) = (self._needed(axis) for axis in (0, 1))
        scale_x, scale_y = (scaled / source for scaled, source in zip(self.scaled_wh, self.source_wh, strict=True))
        scaled_wh = (round((right - left) * scale_x), round((bottom - top) * scale_y))
        crop_xy = (self.crop_xy[0] - round(left * scale_x), self.crop_xy[1] - round(top * scale_y))
        part = Geometry(
            source_wh=(right - left, bottom - top), scaled_wh=scaled_wh, crop_xy=crop_xy, size_wh=self.size_wh
        )
        return array[top:bottom, left:right], part

    def _needed(self, axis: int) -> tuple[int, int]:
        """Return the first source pixel along an axis (0 for columns) that the kept part depends on, and the end."""
        source, scaled = self.source_wh[axis], self.scaled_wh[axis]
        start, end = self.crop_xy[axis], self.crop_xy[axis] + self.size_wh[axis]
        return max(0, start * source // scaled - _MARGIN), min(source, -(-end * source // scaled) + _MARGIN)

    def _crop(self, array: NDArray[DType]) -> NDArray[DType]:
        (left, top), (width, height) = self.crop_xy, self.size_wh
        return array[top : top + height, left : left + width]


def read_geometry(text: str) -> Geometry | None:
    """Return the geometry that cache entries remember as ``text``; None where it is none, or not of a picture."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    source_w, source_h, scaled_w, scaled_h, width, height, left, top = map(int, match.groups())
    fits = left + width <= scaled_w and top + height <= scaled_h and min(source_w, source_h, width, height) > 0
    if not fits:
        return None
    return Geometry(
        source_wh=(source_w, source_h), scaled_wh=(scaled_w, scaled_h), crop_xy=(left, top), size_wh=(width, height)
    )


def cover(source_wh: tuple[int, int], size_wh: tuple[int, int]) -> Geometry:
    """Return the geometry that scales a picture until it covers ``size_wh`` and cuts off the rest evenly.

    Source: musubi-tuner's ``resize_image_to_bucket``. It scales by the larger of the two ratios and rounds halves up;
    an odd pixel is cut off on the right or below.
    """
    scale = max(size_wh[0] / source_wh[0], size_wh[1] / source_wh[1])
    scaled_wh = (int(source_wh[0] * scale + 0.5), int(source_wh[1] * scale + 0.5))
    crop_xy = ((scaled_wh[0] - size_wh[0]) // 2, (scaled_wh[1] - size_wh[1]) // 2)
    return Geometry(source_wh=source_wh, scaled_wh=scaled_wh, crop_xy=crop_xy, size_wh=size_wh)
