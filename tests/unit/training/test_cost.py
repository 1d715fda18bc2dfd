"""training/cost.py: operations of a micro-batch, and the seconds that they take."""

import pytest

from blissmask.training.cost import CARDS, SHARE_OF_PEAK, Preservation, operations, seconds_of
from blissmask.training.memory.estimate import ModelSize

SIZE = ModelSize(blocks=3, block_weights=1000, other_weights=7, width=10, lora_per_rank=5)
PLAIN = {"recomputes": False, "held": Preservation()}


def test_few_tokens_cost_four_operations_for_each_weight_and_token():
    # One product for the prediction, one for the gradient of what went in; weights are frozen. Attention: 3.5 * 4 * 3 * 10.
    assert operations(SIZE, tokens=1, items=1, **PLAIN) == 2 * 2 * 1000 + 3.5 * 120


def test_each_item_attends_to_itself_alone():
    together = operations(SIZE, tokens=8, items=2, **PLAIN)
    assert together == pytest.approx(2 * operations(SIZE, tokens=4, items=1, **PLAIN))


@pytest.mark.parametrize("more", [{"recomputes": True}, {"held": Preservation(base=1.0)}])
def test_checkpointing_and_the_prior_cost_a_forward_pass_each(more):
    without = operations(SIZE, tokens=4, items=1, **PLAIN)
    forward = 2 * 1000 * 4 + 4 * 3 * 10 * 4 * 4
    assert operations(SIZE, tokens=4, items=1, **{**PLAIN, **more}) - without == forward


def test_a_second_pass_of_the_lora_costs_what_the_first_does():
    without = operations(SIZE, tokens=4, items=1, **PLAIN)
    again = operations(SIZE, tokens=4, items=1, recomputes=False, held=Preservation(again=0.25))
    assert again == pytest.approx(1.25 * without)


@pytest.mark.parametrize(
    ("told", "base", "again", "times"),
    [
        ({"outside_share": 1.0, "class_share": 0.0, "only_held": 0.0}, 1.0, 0.0, 1.5),
        ({"outside_share": 0.5, "class_share": 0.0, "only_held": 0.0}, 0.5, 0.0, 1.25),
        ({"outside_share": 0.0, "class_share": 0.5, "only_held": 0.0}, 0.5, 0.5, 1.75),
        ({"outside_share": 1.0, "class_share": 0.5, "only_held": 0.0}, 1.0, 0.5, 2.0),
        ({"outside_share": 0.5, "class_share": 0.25, "only_held": 0.0}, 0.5, 0.25, 1.5),
        ({"outside_share": 0.0, "class_share": 0.5, "only_held": 0.2}, 0.6, 0.4, 1.7),
        ({"outside_share": 0.5, "class_share": 0.0, "only_held": 0.2}, 0.6, 0.0, 1.3),
    ],
)
def test_the_base_model_predicts_once_for_all_that_is_held(told, base, again, times):
    held = Preservation.of(**told)
    assert (held.base, held.again) == pytest.approx((base, again))
    assert held.times(recomputes=False) == pytest.approx(times)


def test_seconds_are_those_of_a_share_of_the_peak():
    card = CARDS[0]
    assert seconds_of(card.teraflops * 1e12 * SHARE_OF_PEAK * 3, card) == pytest.approx(3)
