"""From the mask weights and region shares of a cache entry to the loss weights of training.

f latent frames, h and w latent rows and columns; 4 regions in the order of ``masks.tiers.TIERS``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from blissmask.cachefile.entry import CacheEntry
from blissmask.masks.weights import to_loss_weight

_SHOWN = 0.5
"""A cell whose region shares sum to less has no regions: the control frames of one-frame items."""


@dataclass(frozen=True, slots=True)
class WeightRule:
    """How mask weights become loss weights.

    Attributes:
        gamma: contrast, > 0.
        min_weight: floor, [0, 1).
        transform: ``latent`` shapes the mean weight of each cell (the guide); ``pixel`` shapes the weight of each
            region and averages then, which is what shaping every pixel would give. They differ where a cell holds two
            tiers: the mean of w**gamma is not the mean of w, to the gamma.
        tier_weights: mask weight of face, body, hair and background in [0, 1]; None keeps the weights that were cached.
        cached_tier_weights: the tiers' weights that ``pixel`` shapes when ``tier_weights`` is None: those the masks were made
            with.
        feather: softens the masks by a Gaussian of this standard deviation in latent cells; 0 leaves them.
    """

    gamma: float
    min_weight: float
    transform: Literal["latent", "pixel"] = "latent"
    tier_weights: tuple[float, float, float, float] | None = None
    cached_tier_weights: tuple[float, float, float, float] = (1.0, 128 / 255, 80 / 255, 0.0)
    feather: float = 0.0

    @property
    def needs_regions(self) -> bool:
        """Say whether entries must have region shares."""
        return self.transform == "pixel" or self.tier_weights is not None

    def raw_weights(self, entry: CacheEntry) -> Tensor:
        """Return the mask weights before gamma and floor, (1, f, h, w) float32; entry must have weights."""
        assert entry.weights_1fhw is not None
        weights_1fhw = self._feathered(entry.weights_1fhw.float())
        if self.tier_weights is None or entry.regions_4fhw is None:
            return weights_1fhw
        regions_4fhw = self._feathered(entry.regions_4fhw.float())
        return torch.where(_has_regions(regions_4fhw), _mix(regions_4fhw, self.tier_weights), weights_1fhw)

    def loss_weights(self, entry: CacheEntry) -> Tensor:
        """Return the loss weights, (1, f, h, w) float32 in [min_weight, 1]; entry must have weights."""
        weights_1fhw = self._shape(self.raw_weights(entry).clamp(0.0, 1.0))
        if self.transform == "latent" or entry.regions_4fhw is None:
            return weights_1fhw
        regions_4fhw = self._feathered(entry.regions_4fhw.float())
        shaped = tuple(self.tier_loss_weight(weight) for weight in self.tier_weights or self.cached_tier_weights)
        return torch.where(_has_regions(regions_4fhw), _mix(regions_4fhw, shaped), weights_1fhw)

    def tier_loss_weight(self, weight: float) -> float:
        """Return the loss weight of a cell that is wholly of one mask weight."""
        return to_loss_weight(weight, gamma=self.gamma, min_weight=self.min_weight)

    def _shape(self, weights_1fhw: Tensor) -> Tensor:
        return to_loss_weight(weights_1fhw, gamma=self.gamma, min_weight=self.min_weight)

    def _feathered(self, planes_Rfhw: Tensor) -> Tensor:
        return planes_Rfhw if self.feather == 0 else feather(planes_Rfhw, self.feather)


def feather(planes_Rfhw: Tensor, sigma: float) -> Tensor:
    """Soften planes in space with a Gaussian of ``sigma`` latent cells (> 0); edges repeat, so constant planes stay as they are."""
    reach = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    regions, frames, rows, columns = planes_Rfhw.shape
    planes = F.pad(planes_Rfhw.reshape(regions * frames, 1, rows, columns), (reach,) * 4, mode="replicate")
    planes = F.conv2d(planes, kernel.reshape(1, 1, 1, -1))
    return F.conv2d(planes, kernel.reshape(1, 1, -1, 1)).reshape(planes_Rfhw.shape).clamp(0.0, 1.0)


def _mix(regions_4fhw: Tensor, weights: tuple[float, ...]) -> Tensor:
    return torch.einsum("rfhw,r->fhw", regions_4fhw, torch.tensor(weights)).unsqueeze(0)


def _has_regions(regions_4fhw: Tensor) -> Tensor:
    return regions_4fhw.sum(dim=0, keepdim=True) > _SHOWN
