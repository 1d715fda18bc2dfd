"""The mask-weighted loss. Pure: tensors in, tensors out.

B items, C channels, F latent frames, H and W latent rows and columns, R regions.

Weights have one number for all channels of a latent cell. Where a cell holds n x n sub-cells in its channels (channel
``c * n * n + row * n + column``), errors, weights and regions lie on the n times finer grid of those: H and W are then
its rows and columns. Each weight stands for C / n**2 channels, and the products are those of weights repeated for every
channel.

The loss of a step is one sum over its items, ``sum(coefficients_B * weighted_sums_B)``. The coefficients depend on the
masks alone, which are known before the forward pass, so every mean comes out the same however the step is split into
micro-batches and processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

MaskMean = Literal["batch", "sample", "global"]
LossType = Literal["mse", "huber"]

EMPTY_MASS = 1e-6
"""An item with at most this mass has nothing to learn from.

A millionth of one cell at weight 1 in one channel: far below the smallest weight of an 8-bit mask, 1/255, and far above
rounding errors.
"""


def error_map(
    pred_BCFHW: Tensor,
    target_BCFHW: Tensor,
    *,
    loss_type: LossType = "mse",
    huber_delta: float = 1.0,
    subcells: int = 1,
) -> Tensor:
    """Return the error of each latent cell, or of each of its sub-cells, summed over channels.

    Channels are summed first because they share one weight: the weighting then touches one channel instead of 16.

    Args:
        pred_BCFHW: prediction, any float dtype.
        target_BCFHW: target of the same shape.
        loss_type: ``mse``, or ``huber``, which is the squared error up to ``huber_delta`` and grows linearly beyond.
        huber_delta: > 0, in units of the latents.
        subcells: sub-cells along a side of a latent cell.

    Returns:
        errors_B1FHW, float32, on the grid of the sub-cells.
    """
    if loss_type == "huber":
        # torch's Huber is half the squared error near zero. Twice it equals ``mse`` there, so logs of both compare.
        errors = 2.0 * F.huber_loss(pred_BCFHW.float(), target_BCFHW.float(), reduction="none", delta=huber_delta)
    else:
        errors = (pred_BCFHW.float() - target_BCFHW.float()).square()
    if subcells == 1:
        return errors.sum(dim=1, keepdim=True)
    batch, channels, frames, rows, columns = errors.shape
    parts = errors.reshape(batch, channels // subcells**2, subcells, subcells, frames, rows, columns)
    parts_BnnFHW = parts.sum(dim=1)
    # The row of the sub-cell stands behind the row of its cell, and the column likewise.
    interleaved = parts_BnnFHW.permute(0, 3, 4, 1, 5, 2)
    return interleaved.reshape(batch, 1, frames, rows * subcells, columns * subcells)


def weighted_sums(errors_B1FHW: Tensor, weights_B1FHW: Tensor | None) -> Tensor:
    """Return each item's sum of weighted errors, shape (B,); without weights every cell counts 1."""
    weighted = errors_B1FHW if weights_B1FHW is None else errors_B1FHW * weights_B1FHW
    return weighted.flatten(1).sum(dim=1)


def weight_masses(weights_B1FHW: Tensor, channels: int) -> Tensor:
    """Return each item's ``channels * sum(weights)``, the denominator of its weighted mean, shape (B,), float64.

    Args:
        weights_B1FHW: of cells or sub-cells.
        channels: how many channels share one weight, see :func:`channels_of_a_weight`.
    """
    return channels * weights_B1FHW.flatten(1).sum(dim=1, dtype=torch.float64)


def channels_of_a_weight(plane: Tensor, latents: Tensor) -> int:
    """Return how many channels share one weight: all, or those of one sub-cell where ``plane`` has weights for such.

    Args:
        plane: weights, regions or the like, (..., f, n * h, n * w).
        latents: (C, f, h, w) or with a leading axis.
    """
    return latents.shape[-4] // (plane.shape[-1] // latents.shape[-1]) ** 2


def mass_counts(masses: Sequence[Tensor]) -> Tensor:
    """Return the sums that the means need from other processes: (total mass, items, micro-batches), float64.

    Only items and micro-batches that are not empty count.
    """
    live = _live(masses)
    items = sum(int((masses_B > 0).sum()) for masses_B in live)
    batches = sum(bool((masses_B > 0).any()) for masses_B in live)
    return torch.tensor([sum(float(masses_B.sum()) for masses_B in live), items, batches], dtype=torch.float64)


def item_coefficients(masses: Sequence[Tensor], *, mean: MaskMean, counts: Tensor | None = None) -> list[Tensor]:
    """Return the factor of each item's weighted sum; the products add up to the step's mean.

    There is no epsilon in the denominators: it would bias small masks (1.998 instead of 2.002 at a weight of 1e-12).
    Empty items get 0 and count in no mean.

    Args:
        masses: one masses_B per micro-batch of the optimiser step; see :func:`weight_masses`.
        mean: ``batch``, the guide's: the mean over micro-batches of the weighted mean of each; ``sample``: the mean
            over items of the weighted mean of each; ``global``: one weighted mean over the whole step.
        counts: :func:`mass_counts` summed over all processes of the step; None when ``masses`` is the whole step.

    Returns:
        One coefficients_B per micro-batch, float64; all zeros when no item has any weight.
    """
    live = _live(masses)
    step_total, live_items, live_batches = (mass_counts(masses) if counts is None else counts).tolist()
    match mean:
        case "batch":
            shares = [torch.full_like(masses_B, float(masses_B.sum()) * live_batches) for masses_B in live]
        case "sample":
            shares = [masses_B * live_items for masses_B in live]
        case "global":
            shares = [torch.full_like(masses_B, step_total) for masses_B in live]
    # 1 / 0 of an empty item is infinity, which ``where`` leaves out.
    return [
        torch.where(masses_B > 0, 1.0 / share_B, torch.zeros_like(share_B))
        for masses_B, share_B in zip(live, shares, strict=True)
    ]


def _live(masses: Sequence[Tensor]) -> list[Tensor]:
    """Return the masses with those of empty items set to 0."""
    return [torch.where(masses_B > EMPTY_MASS, masses_B, torch.zeros_like(masses_B)) for masses_B in masses]


def region_sums(errors_B1FHW: Tensor, regions_BRFHW: Tensor) -> Tensor:
    """Return the summed error of each region, (R,); divided by its mass it is the region's plain mean error.

    Args:
        errors_B1FHW: as from :func:`error_map`.
        regions_BRFHW: share of each cell that shows each region, 0..1.
    """
    return (errors_B1FHW * regions_BRFHW).sum(dim=(0, 2, 3, 4))


def region_masses(regions_BRFHW: Tensor, channels: int) -> Tensor:
    """Return ``channels`` times the summed share of each region, (R,); 0 for regions that are not shown.

    ``channels`` as for :func:`weight_masses`.
    """
    return channels * regions_BRFHW.sum(dim=(0, 2, 3, 4))
