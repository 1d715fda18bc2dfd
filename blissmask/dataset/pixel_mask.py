"""A mask at training size: weights and, where it holds nothing but tier values, which tier each pixel is.

f: latent frames (1 for stills), H, W: rows and columns at training size, R: the four tiers in the order of
``masks.tiers.TIERS``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.geometry import Geometry
from blissmask.masks.latent import causal_groups, exact_shares, to_latent_grid
from blissmask.masks.tiers import MAX_VALUE, TierTable

# float32 weights of 8-bit and 16-bit masks differ from tier values by less; neighbouring 8-bit values differ by 1.
_VALUE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class PixelMask:
    """Weights of one item before they are averaged onto the latent grid.

    Attributes:
        weights_fHW: float32 mask weights in [0, 1].
        shares_RfHW: share of each tier in each pixel, summing to 1; None when some pixel of the mask is at no tier's
            value.
    """

    weights_fHW: NDArray[np.float32]
    shares_RfHW: NDArray[np.float32] | None

    @property
    def mean_weight(self) -> float:
        """Return the mean of the weights, which averaging onto the latent grid keeps."""
        return float(self.weights_fHW.mean(dtype=np.float64))

    def on_grid(self, grid_hw: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
        """Return weights (1, f, h, w) and shares (R, f, h, w) or None, averaged over the cells of a latent grid of ``grid_hw``.

        Raises:
            ValueError: the grid does not divide the training size; our own mistake.
        """
        weights_1fhw = np.stack([to_latent_grid(frame_HW, grid_hw) for frame_HW in self.weights_fHW])[np.newaxis]
        if self.shares_RfHW is None:
            return weights_1fhw, None
        shares_Rfhw = np.stack(
            [[to_latent_grid(frame_HW, grid_hw) for frame_HW in plane_fHW] for plane_fHW in self.shares_RfHW]
        )
        return weights_1fhw, exact_shares(shares_Rfhw)


def full_mask(geometry: Geometry) -> PixelMask:
    """Return weight 1 everywhere, of no tier."""
    return PixelMask(np.ones((1, *geometry.size_wh[::-1]), dtype=np.float32), None)


def still_mask(
    weights_HW: NDArray[np.float32], geometry: Geometry, tiers: TierTable, *, inverted: bool = False
) -> PixelMask:
    """Bring one mask to training size with the photo's own geometry.

    Args:
        weights_HW: float32 in [0, 1], at any size with the photo's aspect ratio.
        geometry: the photo's.
        tiers: the values that the mask's tiers have.
        inverted: whether dark is what counts.
    """
    if inverted:
        weights_HW = 1.0 - weights_HW
    shares_RHW = _fitted_shares(weights_HW, geometry, tiers)
    return PixelMask(
        geometry.fit_weights(weights_HW)[np.newaxis], None if shares_RHW is None else shares_RHW[:, np.newaxis]
    )


def mean_weight(weights_HW: NDArray[np.float32], geometry: Geometry, *, inverted: bool = False) -> float:
    """Return the mean weight that :func:`still_mask` gives, in a tenth of its time; arguments as there."""
    fitted_HW = geometry.fit_weights(1.0 - weights_HW if inverted else weights_HW)
    return float(fitted_HW.mean(dtype=np.float64))


def moving_mask(stills: Iterable[PixelMask], frame_count: int, stride: int) -> PixelMask:
    """Average the masks of a clip's frames over the causal groups of latent frames.

    They are taken one at a time, so memory grows with the latent frames only.

    Args:
        stills: ``frame_count`` masks in order, each as :func:`still_mask` returns it.
        frame_count: ``stride * k + 1``.
        stride: frames per latent frame after the first.
    """
    source = iter(stills)
    means = [mean_mask([next(source) for _ in group]) for group in causal_groups(frame_count, stride)]
    shares = [mean.shares_RfHW for mean in means if mean.shares_RfHW is not None]
    whole = np.concatenate(shares, axis=1) if len(shares) == len(means) else None
    return PixelMask(np.concatenate([mean.weights_fHW for mean in means]), whole)


def mean_mask(stills: Sequence[PixelMask]) -> PixelMask:
    """Average masks of single frames into one; shares are kept when all of them have some."""
    shares = [still.shares_RfHW for still in stills if still.shares_RfHW is not None]
    return PixelMask(
        _mean([still.weights_fHW for still in stills]), _mean(shares) if len(shares) == len(stills) else None
    )


def _mean(arrays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(np.stack(arrays), axis=0, dtype=np.float64), dtype=np.float32)


def _fitted_shares(weights_HW: NDArray[np.float32], geometry: Geometry, tiers: TierTable) -> NDArray[np.float32] | None:
    """Return the share of each tier in each pixel at training size, (R, H, W), or None when a pixel is at no tier's value.

    One plane of the original size at a time: four of a large photo would take a gigabyte in a few workers.
    """
    values_HW = weights_HW * MAX_VALUE
    grey_HW = np.rint(values_HW).astype(np.uint8)
    present = set(np.flatnonzero(np.bincount(grey_HW.reshape(-1), minlength=MAX_VALUE + 1)).tolist())
    if not present <= set(tiers.as_dict().values()) or np.abs(values_HW - grey_HW).max() > _VALUE_TOLERANCE:
        return None
    planes = []
    for value in tiers.as_dict().values():
        # Two tiers with one value cannot be told apart; the first one gets the pixels.
        plane_HW = (grey_HW == value) if value in present else np.zeros_like(grey_HW)
        present.discard(value)
        planes.append(geometry.fit_weights(plane_HW.astype(np.float32)))
    return np.stack(planes)
