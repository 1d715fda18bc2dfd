"""The loss of a step that is one batch, put together from the functions that a step uses."""

from __future__ import annotations

from torch import Tensor

from blissmask.training.weighting.loss import MaskMean, error_map, item_coefficients, weight_masses, weighted_sums


def weighted_mean(
    pred_BCFHW: Tensor, target_BCFHW: Tensor, weights_B1FHW: Tensor, *, mean: MaskMean = "batch"
) -> Tensor:
    """Return ``sum(error * weight) / (C * sum(weight))`` for ``batch`` and ``global``; 0 with zero gradient when every weight is 0."""
    (coefficients_B,) = item_coefficients([weight_masses(weights_B1FHW, pred_BCFHW.shape[1])], mean=mean)
    return (weighted_sums(error_map(pred_BCFHW, target_BCFHW), weights_B1FHW) * coefficients_B.float()).sum()
