"""From the mask weights and region shares of a cache entry to the loss weights of training.

f latent frames, h and w latent rows and columns, or those of the parts of a cell where such are weighed; 4 regions in
the order of ``masks.tiers.TIERS``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from blissmask.masks.tiers import TIERS, TierTable, WeightTier
from blissmask.masks.weights import to_loss_weight

_SHOWN = 0.5
"""A cell whose region shares sum to less has no regions.

The shares of a cell sum to 1, or to 0 in the control frames of one-frame items; any number between separates the two.
"""


class Masked(Protocol):
    """A cache entry, or its mask alone."""

    @property
    def weights_1fhw(self) -> Tensor | None:
        """Return the mask weights in [0, 1]."""

    @property
    def regions_4fhw(self) -> Tensor | None:
        """Return the share of each region in each cell."""


@dataclass(frozen=True, slots=True)
class WeightRule:
    """How mask weights become loss weights.

    Attributes:
        gamma: contrast, > 0.
        min_weight: floor, [0, 1).
        transform: ``latent`` shapes the mean weight of each cell, as the guide does. ``pixel`` shapes the weight of
            each region and averages then, which is what shaping every pixel would give. They differ where a cell holds
            two tiers: the mean of ``w ** gamma`` is not the mean of w, to the gamma.
        own_weights: mask weight in [0, 1] of each tier for which the user gives one instead of the cached one.
        tiers: the values that the masks were made with; see :meth:`for_masks_of`.
        feather: softens the masks by a Gaussian of this standard deviation in latent cells, or in parts of cells where
            those are weighed; 0 leaves them.
    """

    gamma: float
    min_weight: float
    transform: Literal["latent", "pixel"] = "latent"
    own_weights: Mapping[WeightTier, float] = field(default_factory=dict)
    tiers: TierTable = field(default_factory=TierTable)
    feather: float = 0.0

    def for_masks_of(self, tiers: TierTable) -> WeightRule:
        """Return the same rule for an entry whose masks were made with ``tiers``."""
        return replace(self, tiers=tiers)

    @property
    def needs_regions(self) -> bool:
        """Whether entries must have region shares."""
        return self.transform == "pixel" or bool(self.own_weights)

    @property
    def tier_weights(self) -> tuple[float, ...]:
        """The mask weight of each tier, in the order of ``TIERS``."""
        return tuple(self.own_weights.get(tier, self.tiers.weight(tier)) for tier in TIERS)

    def loss_weights(self, entry: Masked) -> Tensor:
        """Return the loss weights of an entry with mask weights, (1, f, h, w) float32 in [min_weight, 1]."""
        assert entry.weights_1fhw is not None
        weights_1fhw = self._feathered(entry.weights_1fhw)
        if entry.regions_4fhw is None or not self.needs_regions:
            return self._shaped(weights_1fhw)
        regions_4fhw = self._feathered(entry.regions_4fhw)
        has_regions_1fhw = regions_4fhw.sum(dim=0, keepdim=True) > _SHOWN
        # Cells without regions, those of control frames, keep the weight that was cached.
        if self.own_weights:
            weights_1fhw = torch.where(has_regions_1fhw, _mix(regions_4fhw, self.tier_weights), weights_1fhw)
        shaped_1fhw = self._shaped(weights_1fhw)
        if self.transform == "latent":
            return shaped_1fhw
        shaped_tiers = tuple(self.tier_loss_weight(weight) for weight in self.tier_weights)
        return torch.where(has_regions_1fhw, _mix(regions_4fhw, shaped_tiers), shaped_1fhw)

    def tier_loss_weight(self, weight: float) -> float:
        """Return the loss weight of a cell that is wholly of one mask weight."""
        return to_loss_weight(weight, gamma=self.gamma, min_weight=self.min_weight)

    def _shaped(self, weights_1fhw: Tensor) -> Tensor:
        return to_loss_weight(weights_1fhw.clamp(0.0, 1.0), gamma=self.gamma, min_weight=self.min_weight)

    def _feathered(self, planes_Rfhw: Tensor) -> Tensor:
        planes_Rfhw = planes_Rfhw.float()
        return planes_Rfhw if self.feather == 0 else feather(planes_Rfhw, self.feather)


def feather(planes_Rfhw: Tensor, sigma: float) -> Tensor:
    """Soften planes in space with a Gaussian; edges repeat, so constant planes stay as they are.

    Args:
        planes_Rfhw: values in [0, 1].
        sigma: standard deviation in latent cells, > 0.
    """
    # Beyond three standard deviations lies 0.3 percent of a Gaussian.
    reach = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    regions, frames, rows, columns = planes_Rfhw.shape
    border = (reach, reach, reach, reach)
    planes = F.pad(planes_Rfhw.reshape(regions * frames, 1, rows, columns), border, mode="replicate")
    planes = F.conv2d(planes, kernel.reshape(1, 1, 1, -1))
    return F.conv2d(planes, kernel.reshape(1, 1, -1, 1)).reshape(planes_Rfhw.shape).clamp(0.0, 1.0)


def _mix(regions_4fhw: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return the mean weight of each cell, (1, f, h, w): the regions' weights by their shares of the cell."""
    return torch.einsum("rfhw,r->fhw", regions_4fhw, torch.tensor(weights)).unsqueeze(0)
