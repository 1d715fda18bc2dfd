"""training/cost.py: operations of a micro-batch, and the seconds that they take."""

import pytest

from blissmask.training.cost import CARDS, SHARE_OF_PEAK, operations, seconds_of
from blissmask.training.memory.estimate import ModelSize

SIZE = ModelSize(blocks=3, block_weights=1000, other_weights=7, width=10, lora_per_rank=5)
PLAIN = {"recomputes": False, "prior": False}


def test_few_tokens_cost_four_operations_for_each_weight_and_token():
    # One product for the prediction, one for the gradient of what went in; weights are frozen. Attention: 3.5 * 4 * 3 * 10.
    assert operations(SIZE, tokens=1, items=1, **PLAIN) == 2 * 2 * 1000 + 3.5 * 120


def test_each_item_attends_to_itself_alone():
    together = operations(SIZE, tokens=8, items=2, **PLAIN)
    assert together == pytest.approx(2 * operations(SIZE, tokens=4, items=1, **PLAIN))


@pytest.mark.parametrize("more", ["recomputes", "prior"])
def test_checkpointing_and_the_prior_cost_a_forward_pass_each(more):
    without = operations(SIZE, tokens=4, items=1, **PLAIN)
    forward = 2 * 1000 * 4 + 4 * 3 * 10 * 4 * 4
    assert operations(SIZE, tokens=4, items=1, **{**PLAIN, more: True}) - without == forward


def test_seconds_are_those_of_a_share_of_the_peak():
    card = CARDS[0]
    assert seconds_of(card.teraflops * 1e12 * SHARE_OF_PEAK * 3, card) == pytest.approx(3)
