"""How a picture is brought to its training size; photo and mask go through the same steps, or they would no longer lie on each other.

H, W: rows and columns. Sizes are (width, height).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.resize import resize_weights
from blissmask.media.image import resize_rgb


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
        return f"{source_w}x{source_h} -> {scaled_w}x{scaled_h}, crop {width}x{height}+{self.crop_xy[0]}+{self.crop_xy[1]}"

    def fit_rgb(self, rgb_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring colours to the training size: Lanczos up, area average down. The array must be ``source_wh`` large."""
        return np.ascontiguousarray(self._crop(resize_rgb(rgb_HW3, self.scaled_wh)))

    def fit_weights(self, weights_HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring mask weights to the training size: nearest up, area average down.

        A mask of another size than the picture is brought to the picture's size first, so that it is cut exactly where the picture is.
        """
        return np.ascontiguousarray(self._crop(resize_weights(resize_weights(weights_HW, self.source_wh), self.scaled_wh)))

    def _crop(self, array: NDArray[np.generic]) -> NDArray:  # type: ignore[type-arg]
        (left, top), (width, height) = self.crop_xy, self.size_wh
        return array[top : top + height, left : left + width]


def cover(source_wh: tuple[int, int], size_wh: tuple[int, int]) -> Geometry:
    """Return the geometry that scales a picture until it covers ``size_wh`` and cuts the rest off evenly.

    Source: musubi-tuner's ``resize_image_to_bucket``: the larger of the two ratios, halves rounded up, the odd pixel cut right and below.
    """
    scale = max(size_wh[0] / source_wh[0], size_wh[1] / source_wh[1])
    scaled_wh = (int(source_wh[0] * scale + 0.5), int(source_wh[1] * scale + 0.5))
    crop_xy = ((scaled_wh[0] - size_wh[0]) // 2, (scaled_wh[1] - size_wh[1]) // 2)
    return Geometry(source_wh, scaled_wh, crop_xy, size_wh)
