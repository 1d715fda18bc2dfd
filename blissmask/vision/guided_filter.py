"""Move the edges of coarse masks onto the edges of the photo: the colour guided filter.

Source: He, Sun, Tang, "Guided Image Filtering" (2013), and He, Sun, "Fast Guided Filter" (2015): the coefficients are
computed on a small copy and applied to the full photo. h, w: rows and columns of the small copy; H, W: of the photo;
3 = RGB; 4 = three colour gains and an offset, each a plane of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.photo import Window, paste

Plane = NDArray[np.float32]

EPSILON = 2e-4
"""Colour variance, of values in 0..1, below which a neighbourhood counts as flat; by eye.

A mask is smoothed there and not sharpened, since noise has no edges to follow.
"""

_ROWS_AT_ONCE = 64
"""Rows that are multiplied at a time: the products of whole planes would take three times their memory."""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A mask as a linear function of the colours around each pixel of the guide.

    Attributes:
        coefficients_4hw: float32, three colour gains and an offset, for a part of the guide.
        corner_xy: left and top of the part, pixels of the guide.
        guide_wh: size of the guide.
    """

    coefficients_4hw: NDArray[np.float32]
    corner_xy: tuple[int, int]
    guide_wh: tuple[int, int]

    def apply(self, rgb_HW3: NDArray[np.uint8], window: Window) -> Plane:
        """Evaluate the mask on the photo's own pixels.

        Args:
            rgb_HW3: uint8 RGB, the whole photo; the guide is a copy of it of any size.
            window: the part to evaluate, photo pixels; strips keep the memory of large photos small.

        Returns:
            float32 of the window's size, about 0..1.
        """
        left, top, right, bottom = window
        across, down = self.guide_wh[0] / rgb_HW3.shape[1], self.guide_wh[1] / rgb_HW3.shape[0]
        to_part = np.array([[across, 0.0, -self.corner_xy[0]], [0.0, down, -self.corner_xy[1]]])
        mask = np.zeros((bottom - top, right - left), np.float32)
        # One coefficient after the other: all four take more memory than all else that a strip of a photo needs.
        for channel in range(3):
            gain = paste(self.coefficients_4hw[channel], to_part, window)
            for rows in _rows_at_once(len(mask)):
                colour = cv2.extractChannel(rgb_HW3[top:bottom, left:right][rows], channel)
                mask[rows] += cv2.multiply(gain[rows], colour, scale=1 / 255, dtype=cv2.CV_32F)
            # Before the next one is there.
            del gain
        mask += paste(self.coefficients_4hw[3], to_part, window)
        return mask


class GuidedFilter:
    """The statistics of one guide, shared by every mask filtered with it.

    Args:
        guide_hw3: uint8 RGB.
        radius: half the side of the neighbourhood, pixels of the guide.
    """

    def __init__(self, guide_hw3: NDArray[np.uint8], *, radius: int) -> None:
        self._window = (2 * radius + 1, 2 * radius + 1)
        self._guide_hw3 = guide_hw3
        self._means = [self._mean(self._channel(channel)) for channel in range(3)]
        self._inverse = self._inverse_covariance()

    def fit(self, mask_hw: Plane, window: Window | None = None) -> LinearModel:
        """Return the local linear model of a mask of the guide's size, in a part of the guide or all of it."""
        height, width = mask_hw.shape
        left, top, right, bottom = window or (0, 0, width, height)
        part = (slice(top, bottom), slice(left, right))
        mask = np.ascontiguousarray(mask_hw[part])
        means = [mean[part] for mean in self._means]
        mask_mean = self._mean(mask)
        together = [
            self._mean(self._channel(channel)[part] * mask) - mean * mask_mean for channel, mean in enumerate(means)
        ]
        # Planes go as soon as they are used: together they would take as much as a large photo.
        del mask
        gains = self._gains(together, part)
        offset = self._mean(mask_mean - _dot(gains, means))
        coefficients_4hw = np.empty((4, *offset.shape), np.float32)
        coefficients_4hw[3] = offset
        for channel in reversed(range(3)):
            coefficients_4hw[channel] = self._mean(gains.pop())
        return LinearModel(coefficients_4hw, (left, top), (width, height))

    def _channel(self, channel: int) -> Plane:
        """Return red, green or blue in 0..1; made anew each time, since 8 bits take a quarter of the memory."""
        return np.multiply(self._guide_hw3[..., channel], np.float32(1 / 255), dtype=np.float32)

    def _gains(self, together: list[Plane], part: tuple[slice, slice]) -> list[Plane]:
        """Return the gain of each colour in the place of its covariance with the mask."""
        for rows in _rows_at_once(len(together[0])):
            here = [plane[rows].copy() for plane in together]
            for gain, row in zip(together, self._inverse, strict=True):
                gain[rows] = _dot([entry[part][rows] for entry in row], here)
        return together

    def _mean(self, plane_hw: Plane) -> Plane:
        return np.asarray(cv2.boxFilter(plane_hw, -1, self._window, borderType=cv2.BORDER_REFLECT), dtype=np.float32)

    def _covariance(self, first: int, second: int) -> Plane:
        means = self._means[first] * self._means[second]
        return self._mean(self._channel(first) * self._channel(second)) - means

    def _inverse_covariance(self) -> list[list[Plane]]:
        """Invert the 3x3 covariance of the colours at every pixel, by its cofactors.

        This is ten times faster than a general inverse.
        """
        rr, gg, bb = (self._covariance(channel, channel) + np.float32(EPSILON) for channel in range(3))
        rg, rb, gb = self._covariance(0, 1), self._covariance(0, 2), self._covariance(1, 2)
        for rows in _rows_at_once(len(rr)):
            planes = [plane[rows] for plane in (rr, rg, rb, gg, gb, bb)]
            for plane, inverse in zip(planes, _inverse(*planes), strict=True):
                plane[...] = inverse
        return [[rr, rg, rb], [rg, gg, gb], [rb, gb, bb]]


def _inverse(rr: Plane, rg: Plane, rb: Plane, gg: Plane, gb: Plane, bb: Plane) -> tuple[Plane, ...]:
    """Return the entries of the inverse of a symmetric 3x3 matrix at every pixel, in the order of the arguments."""
    irr, irg, irb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    igg, igb, ibb = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    scale = np.reciprocal(rr * irr + rg * irg + rb * irb, dtype=np.float32)
    return irr * scale, irg * scale, irb * scale, igg * scale, igb * scale, ibb * scale


def _rows_at_once(height: int) -> list[slice]:
    return [slice(first, first + _ROWS_AT_ONCE) for first in range(0, height, _ROWS_AT_ONCE)]


def _dot(first: Sequence[Plane], second: Sequence[Plane]) -> Plane:
    return np.asarray(first[0] * second[0] + first[1] * second[1] + first[2] * second[2], dtype=np.float32)
