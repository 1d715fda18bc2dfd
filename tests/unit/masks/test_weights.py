"""The figures of the mask transform: the formula is the law, its table in the guide has slips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blissmask.masks.tiers import TIERS, TierTable, WeightTier
from blissmask.masks.weights import to_loss_weight


@pytest.mark.parametrize(
    ("gamma", "floor", "expected"),
    [
        (1.0, 0.0, (1.0, 0.501961, 0.313725, 0.0)),
        (0.5, 0.0, (1.0, 0.708492, 0.560112, 0.0)),
        (2.0, 0.0, (1.0, 0.251965, 0.098424, 0.0)),
        (1.0, 0.1, (1.0, 0.551765, 0.382353, 0.1)),
        (0.7, 0.05, (1.0, 0.636398, 0.471996, 0.05)),
        (1.5, 0.0, (1.0, 0.355635, 0.175721, 0.0)),
    ],
)
def test_tiers_become_these_loss_weights(gamma: float, floor: float, expected: tuple[float, ...]) -> None:
    shaped = [to_loss_weight(TierTable().weight(tier), gamma=gamma, min_weight=floor) for tier in TIERS]
    assert shaped == pytest.approx(expected, abs=5e-7)


def test_array_tensor_and_number_give_the_same() -> None:
    values = np.array([255, 128, 80, 0], dtype=np.float64) / 255
    numbers = [to_loss_weight(value, gamma=0.7, min_weight=0.05) for value in values.tolist()]
    assert to_loss_weight(values, gamma=0.7, min_weight=0.05).tolist() == numbers
    tensor = to_loss_weight(torch.from_numpy(values), gamma=0.7, min_weight=0.05)
    assert tensor.tolist() == pytest.approx(numbers, rel=1e-15)


def test_tier_table_lists_tiers_in_the_order_of_every_table() -> None:
    assert list(TierTable(face=1, body=2, hair=3, background=4).as_dict().items()) == list(
        zip(TIERS, (1, 2, 3, 4), strict=True)
    )
    assert TierTable().weight(WeightTier.BODY) == 128 / 255
