"""From mask weights to loss weights: one formula for floats, arrays and tensors alike."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar


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
