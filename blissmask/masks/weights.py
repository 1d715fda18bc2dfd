"""From mask values to mask weights, and from mask weights to loss weights.

The formula of loss weights is one for floats, arrays and tensors alike. H, W: rows and columns.
"""

from __future__ import annotations

from typing import Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.tiers import MAX_VALUE

MAX_VALUE_16 = 65535
"""Value of a mask of 16 bits that means weight 1."""

MaskValues: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
"""Mask values as files hold them: 8 or 16 bits, of which the largest value is weight 1, or weights in [0, 1]."""


class _Number(Protocol):
    """What the formula needs of a value; floats, arrays and tensors all have it."""

    def __mul__(self, other: float, /) -> Self: ...
    def __add__(self, other: float, /) -> Self: ...
    def __pow__(self, other: float, /) -> Self: ...


WeightT = TypeVar("WeightT", bound=_Number)


def to_loss_weight(weight: WeightT, *, gamma: float, min_weight: float) -> WeightT:
    """Shape mask weights into loss weights: ``weight ** gamma * (1 - min_weight) + min_weight``.

    Source: the weighted mask guide, "Complete Transformation Pipeline"; its formula, not its table, is the law.

    Args:
        weight: mask weight(s) in [0, 1], any shape.
        gamma: > 0; below 1 lifts midtones, above 1 sharpens.
        min_weight: floor in [0, 1); what a weight of 0 becomes.

    Returns:
        Weights in [min_weight, 1], same shape and dtype as ``weight``.
    """
    return weight**gamma * (1.0 - min_weight) + min_weight


def to_weights(values_HW: MaskValues) -> NDArray[np.float32]:
    """Return mask values as weights in [0, 1], a new float32 array; it takes four times the memory of 8-bit values."""
    weights_HW = values_HW.astype(np.float32)
    if values_HW.dtype != np.float32:
        weights_HW /= np.float32(MAX_VALUE_16 if values_HW.dtype == np.uint16 else MAX_VALUE)
    return weights_HW
