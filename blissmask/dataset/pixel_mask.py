"""Masks at training size, before they are averaged onto the latent grid.

A mask has weights and, when it holds nothing but tier values, the share of each tier in each pixel. f: latent frames
(1 for stills), H, W: rows and columns at training size, R: the four tiers in the order of ``masks.tiers.TIERS``, S:
subjects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.geometry import Geometry
from blissmask.masks.latent import causal_groups, exact_shares, to_latent_grid
from blissmask.masks.tiers import MAX_VALUE, TIERS, TierTable, WeightTier
from blissmask.masks.weighted_mask import count_values
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
        subject_shares_SRfHW: the same of the mask of each of several subjects, whose pixelwise maximum this mask is;
            None where it is of one, or a mask has a value of no tier.
    """

    weights_fHW: NDArray[np.float32]
    shares_RfHW: NDArray[np.float32] | None
    subject_shares_SRfHW: NDArray[np.float32] | None = None

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

    def subjects_on_grid(self, grid_hw: tuple[int, int]) -> NDArray[np.float16] | None:
        """Average the shares of each subject over the cells of a latent grid; see :meth:`on_grid`.

        Returns:
            (S * R, f, h, w), one set after another; 0 everywhere in the set of a subject whom no pixel shows. None
            where nothing is known of subjects.
        """
        if self.subject_shares_SRfHW is None:
            return None
        return np.concatenate([_shown_on_grid(shares_RfHW, grid_hw) for shares_RfHW in self.subject_shares_SRfHW])


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


def several_mask(
    of_subjects: Sequence[MaskValues | None], geometry: Geometry, tiers: TierTable, *, inverted: bool = False
) -> PixelMask:
    """Bring the masks of several subjects of one photo to training size, as one mask.

    Args:
        of_subjects: the mask of each, all of one size; None for one who has none. One of them has a mask at least.
        geometry, tiers, inverted: as for :func:`still_mask`.
    """
    there = [values_HW for values_HW in of_subjects if values_HW is not None]
    mask = still_mask(union(there, inverted=inverted), geometry, tiers, inverted=inverted)
    if mask.shares_RfHW is None:
        return mask
    background_RHW = np.zeros_like(mask.shares_RfHW[:, 0])
    background_RHW[TIERS.index(WeightTier.BACKGROUND)] = 1.0
    shares = [
        background_RHW if values_HW is None else _fitted_shares(values_HW, geometry, tiers, inverted=inverted)
        for values_HW in of_subjects
    ]
    known = [shares_RHW for shares_RHW in shares if shares_RHW is not None]
    # A value of no tier may lie below the maximum, where the mask of all does not show it.
    if len(known) < len(shares):
        return mask
    return replace(mask, subject_shares_SRfHW=np.stack(known)[:, :, np.newaxis])


def union(masks: Sequence[MaskValues], *, inverted: bool = False) -> MaskValues:
    """Return the pixelwise maximum of masks of one size, one at least; the minimum where dark is what counts."""
    if len(masks) == 1:
        return masks[0]
    if len({values_HW.dtype for values_HW in masks}) > 1:
        masks = [to_weights(values_HW) for values_HW in masks]
    pick = np.minimum if inverted else np.maximum
    together_HW: MaskValues = pick.reduce(np.stack(masks), axis=0)
    return together_HW


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
    shares = _all_of(mean.shares_RfHW for mean in means)
    of_subjects = _all_of(mean.subject_shares_SRfHW for mean in means)
    return PixelMask(
        weights_fHW=np.concatenate([mean.weights_fHW for mean in means]),
        shares_RfHW=None if shares is None else np.concatenate(shares, axis=1),
        subject_shares_SRfHW=None if of_subjects is None else np.concatenate(of_subjects, axis=2),
    )


def mean_mask(stills: Sequence[PixelMask]) -> PixelMask:
    """Average masks of single frames into one; it has shares when each of them has shares."""
    shares = _all_of(still.shares_RfHW for still in stills)
    of_subjects = _all_of(still.subject_shares_SRfHW for still in stills)
    return PixelMask(
        weights_fHW=_mean([still.weights_fHW for still in stills]),
        shares_RfHW=None if shares is None else _mean(shares),
        subject_shares_SRfHW=None if of_subjects is None else _mean(of_subjects),
    )


def _frames_on_grid(frames_fHW: NDArray[np.float32], grid_hw: tuple[int, int]) -> NDArray[np.float32]:
    return np.stack([to_latent_grid(frame_HW, grid_hw) for frame_HW in frames_fHW])


def _shown_on_grid(shares_RfHW: NDArray[np.float32], grid_hw: tuple[int, int]) -> NDArray[np.float16]:
    """Return the shares of one subject on a latent grid, 0 everywhere where all of it is background."""
    own = [tier is not WeightTier.BACKGROUND for tier in TIERS]
    if not shares_RfHW[own].any():
        return np.zeros((*shares_RfHW.shape[:2], *grid_hw), dtype=np.float16)
    return exact_shares(np.stack([_frames_on_grid(plane_fHW, grid_hw) for plane_fHW in shares_RfHW]))


def _all_of(shares: Iterable[NDArray[np.float32] | None]) -> list[NDArray[np.float32]] | None:
    """Return the shares of masks; None when one has none."""
    found = list(shares)
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None


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
    present = set(np.flatnonzero(count_values(grey_HW)).tolist())
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
