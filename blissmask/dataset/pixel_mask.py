"""Masks at training size, before they are averaged onto the latent grid.

A mask has weights and, when it holds nothing but tier values, the share of each tier in each pixel. f: latent frames
(1 for stills), H, W: rows and columns at training size, R: the four tiers in the order of ``masks.tiers.TIERS``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.geometry import Geometry
from blissmask.masks.latent import causal_groups, exact_shares, to_latent_grid
from blissmask.masks.tiers import MAX_VALUE, TierTable
from blissmask.masks.weights import MaskValues, to_weights

# In units of 8-bit values. float32 rounding moves a weight of an 8-bit mask by less than this; two values of a 16-bit
# mask differ by 1/257, so only exact tier values pass.
_VALUE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class PixelMask:
    """The mask of one item at training size.

    Attributes:
        weights_fHW: float32 mask weights in [0, 1].
        shares_RfHW: share of each tier in each pixel, summing to 1; None when the mask has a value of no tier.
    """

    weights_fHW: NDArray[np.float32]
    shares_RfHW: NDArray[np.float32] | None

    @property
    def mean_weight(self) -> float:
        """Return the mean of the weights; averaging onto the latent grid keeps it."""
        return float(self.weights_fHW.mean(dtype=np.float64))

    def on_grid(self, grid_hw: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
        """Average the mask over the cells of a latent grid.

        Args:
            grid_hw: rows and columns of the grid.

        Returns:
            Weights (1, f, h, w), and shares (R, f, h, w) or None.

        Raises:
            ValueError: the grid does not divide the training size; our own mistake.
        """
        weights_1fhw = _frames_on_grid(self.weights_fHW, grid_hw)[np.newaxis]
        if self.shares_RfHW is None:
            return weights_1fhw, None
        shares_Rfhw = np.stack([_frames_on_grid(plane_fHW, grid_hw) for plane_fHW in self.shares_RfHW])
        return weights_1fhw, exact_shares(shares_Rfhw)


def full_mask(geometry: Geometry) -> PixelMask:
    """Return a mask with weight 1 everywhere and without tiers."""
    width, height = geometry.size_wh
    return PixelMask(weights_fHW=np.ones((1, height, width), dtype=np.float32), shares_RfHW=None)


def still_mask(values_HW: MaskValues, geometry: Geometry, tiers: TierTable, *, inverted: bool = False) -> PixelMask:
    """Bring one mask to training size with the photo's own geometry.

    Args:
        values_HW: values of 8 or 16 bits, or float32 in [0, 1], at any size with the photo's aspect ratio.
        geometry: the geometry of the photo.
        tiers: the value of each tier in the mask.
        inverted: whether dark is what counts.
    """
    shares_RHW = _fitted_shares(values_HW, geometry, tiers, inverted=inverted)
    return PixelMask(
        weights_fHW=_fitted_weights(values_HW, geometry, inverted=inverted)[np.newaxis],
        shares_RfHW=None if shares_RHW is None else shares_RHW[:, np.newaxis],
    )


def mean_weight(values_HW: MaskValues, geometry: Geometry, *, inverted: bool = False) -> float:
    """Return the mean weight of :func:`still_mask` in a tenth of its time; the arguments are the same."""
    return float(_fitted_weights(values_HW, geometry, inverted=inverted).mean(dtype=np.float64))


def moving_mask(stills: Iterable[PixelMask], frame_count: int, stride: int) -> PixelMask:
    """Average the masks of a clip's frames over the causal groups of latent frames.

    The masks are taken one at a time, so memory grows with the number of latent frames only.

    Args:
        stills: ``frame_count`` masks in order, each as :func:`still_mask` returns it.
        frame_count: ``stride * k + 1``.
        stride: frames per latent frame after the first.
    """
    source = iter(stills)
    means = [mean_mask([next(source) for _ in group]) for group in causal_groups(frame_count, stride)]
    shares = _shares_of_all(means)
    return PixelMask(
        weights_fHW=np.concatenate([mean.weights_fHW for mean in means]),
        shares_RfHW=None if shares is None else np.concatenate(shares, axis=1),
    )


def mean_mask(stills: Sequence[PixelMask]) -> PixelMask:
    """Average masks of single frames into one; it has shares when each of them has shares."""
    shares = _shares_of_all(stills)
    return PixelMask(
        weights_fHW=_mean([still.weights_fHW for still in stills]),
        shares_RfHW=None if shares is None else _mean(shares),
    )


def _frames_on_grid(frames_fHW: NDArray[np.float32], grid_hw: tuple[int, int]) -> NDArray[np.float32]:
    return np.stack([to_latent_grid(frame_HW, grid_hw) for frame_HW in frames_fHW])


def _shares_of_all(masks: Sequence[PixelMask]) -> list[NDArray[np.float32]] | None:
    """Return the shares of each mask; None when one has none."""
    shares = [mask.shares_RfHW for mask in masks if mask.shares_RfHW is not None]
    return shares if len(shares) == len(masks) else None


def _mean(arrays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(np.stack(arrays), axis=0, dtype=np.float64), dtype=np.float32)


def _fitted_weights(values_HW: MaskValues, geometry: Geometry, *, inverted: bool) -> NDArray[np.float32]:
    weights_HW = to_weights(values_HW)
    if inverted:
        np.subtract(1.0, weights_HW, out=weights_HW)
    return geometry.fit_weights(weights_HW)


def _fitted_shares(
    values_HW: MaskValues, geometry: Geometry, tiers: TierTable, *, inverted: bool
) -> NDArray[np.float32] | None:
    """Return the share of each tier in each pixel at training size, (R, H, W); None when the mask has other values.

    It makes one plane of the original size at a time: all four of a large photo would take a gigabyte in a few workers.
    """
    grey_HW = _exact_grey(values_HW)
    if grey_HW is None:
        return None
    if inverted:
        grey_HW = MAX_VALUE - grey_HW
    present = set(np.flatnonzero(np.bincount(grey_HW.reshape(-1), minlength=MAX_VALUE + 1)).tolist())
    if not present <= set(tiers.as_dict().values()):
        return None
    planes = []
    for value in tiers.as_dict().values():
        # Two tiers with the same value look alike; the first one gets the pixels.
        plane_HW = (grey_HW == value) if value in present else np.zeros_like(grey_HW)
        present.discard(value)
        planes.append(geometry.fit_weights(plane_HW.astype(np.float32)))
    return np.stack(planes)


def _exact_grey(values_HW: MaskValues) -> NDArray[np.uint8] | None:
    """Return the values in 8 bits; None when some of them lie between two values of 8 bits."""
    if values_HW.dtype == np.uint8:
        return values_HW.astype(np.uint8, copy=False)
    levels_HW = to_weights(values_HW) * np.float32(MAX_VALUE)
    grey_HW = np.rint(levels_HW).astype(np.uint8)
    levels_HW -= grey_HW
    return None if np.abs(levels_HW, out=levels_HW).max() > _VALUE_TOLERANCE else grey_HW
