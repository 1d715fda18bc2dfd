"""The running loss of each item: the mean by hand, the same however steps are split, and through a training state."""

import json

import pytest
import torch

from blissmask.errors import CacheError
from blissmask.events import ItemLoss
from blissmask.processes import ALONE
from blissmask.training.data.micro_batch import collate
from blissmask.training.record import item_losses
from blissmask.training.record.item_losses import ItemLosses
from blissmask.training.step.run_step import run_step
from tests.builders.toy_step import CPU, make_item, make_learner, rows, rule

NAMES = ("a", "b", "c", "empty")
ITEMS = [
    make_item(0, weights=rows(1.0, 0.0)),
    make_item(1, weights=rows(0.2, 0.7)),
    make_item(2),
    make_item(3, weights=rows(0.0, 0.0)),
]

pytestmark = pytest.mark.usefixtures("noise_by_item")


def batch(*positions, number=0):
    return collate([ITEMS[position] for position in positions], number, positions=positions)


def after_one_step(windows, **options):
    """Return what a step of the same weights finds of the items in each window."""
    losses = ItemLosses(NAMES)
    for window in windows:
        run_step(make_learner(), window, rule(**options), step=0, device=CPU, losses=losses)
        losses.gather(ALONE)
    return losses


def by_hand(position):
    """Return the weighted mean error of an item: of the noise minus the latents, at noise level 0.5."""
    item = ITEMS[position]
    noise = torch.randn(4, 1, 2, 3, generator=torch.Generator().manual_seed(100 + position))
    weight = make_learner().denoiser
    with torch.no_grad():
        mixed = weight.module.mix((0.5 * item.latents_Cfhw + 0.5 * noise).movedim(0, -1)).movedim(-1, 0)
    weights = torch.ones(1, 1, 2, 3) if item.weights_1fhw is None else item.weights_1fhw
    error = (mixed - (noise - item.latents_Cfhw)).square()
    return float((error * weights).sum() / (4 * weights.sum()))


def test_an_item_has_the_mean_of_its_loss_where_its_mask_has_weight():
    found = after_one_step([[batch(0, 1), batch(2, 0, number=1)]]).worst_first()
    assert {item.name: item.draws for item in found} == {"a": 2, "b": 1, "c": 1}
    for item in found:
        assert item.loss == pytest.approx(by_hand(NAMES.index(item.name)), rel=1e-5)


def test_the_highest_loss_comes_first():
    losses = [item.loss for item in after_one_step([[batch(0, 1, 2)]]).worst_first()]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1]


def test_items_without_weight_and_steps_without_masks_do_not_count():
    assert [item.name for item in after_one_step([[batch(3), batch(2, 3, number=1)]]).worst_first()] == ["c"]
    assert after_one_step([[batch(0, 1)]], unmasked_probability=1.0).worst_first() == []


def test_the_numbers_are_the_same_bits_in_any_order_and_after_any_number_of_saves(monkeypatch):
    seen = [((number % 3,), torch.tensor([7.0]), torch.rand(1) * 10.0 ** (number % 5)) for number in range(60)]

    def numbers_of(parts):
        losses = ItemLosses(NAMES)
        for part in parts:
            for drawn in part:
                losses.add(*drawn)
            losses.gather(ALONE)
        return losses.numbers()

    whole = numbers_of([seen])
    assert numbers_of([seen[30:], seen[:30]]) == whole
    assert numbers_of([[drawn] for drawn in reversed(seen)]) == whole
    monkeypatch.setattr(item_losses, "_MOST_WAITING", 7)
    assert numbers_of([seen]) == whole


def test_the_numbers_of_all_processes_are_added_up():
    class Two:
        def sum(self, tensor):
            return 2 * tensor

    losses = ItemLosses(NAMES)
    losses.add((1,), torch.tensor([2.0], dtype=torch.float64), torch.tensor([3.0]))
    losses.gather(Two())
    losses.gather(Two())
    assert losses.worst_first() == [ItemLoss("b", 2, 1.5)]


def test_a_step_that_fails_counts_nothing():
    learner, losses = make_learner(), ItemLosses(NAMES)
    predict = learner.denoiser.predict

    def fail_later(inputs):
        if learner.denoiser.calls:
            raise MemoryError
        return predict(inputs)

    learner.denoiser.predict = fail_later
    with pytest.raises(MemoryError):
        run_step(learner, [batch(0), batch(1, number=1)], rule(), step=0, device=CPU, losses=losses)
    losses.gather(ALONE)
    assert losses.worst_first() == []


def test_they_go_on_from_a_state_with_the_items_that_are_still_there():
    before = after_one_step([[batch(0, 1, 2)]])
    saved = json.loads(json.dumps(before.numbers()))
    after = ItemLosses(("c", "a", "new"))
    after.restore(saved)
    assert {item.name: item for item in after.worst_first()} == {
        item.name: item for item in before.worst_first() if item.name != "b"
    }
    after.restore(None)
    assert after.worst_first() == []


@pytest.mark.parametrize(
    "numbers", [[], {"a": 1}, {"a": [0, 1.0]}, {"a": [1, float("nan")]}, {"a": [True, 1.0]}, {"gone": ["1", 2]}]
)
def test_numbers_that_are_none_are_refused(numbers):
    with pytest.raises(CacheError, match="losses of items that are no numbers"):
        ItemLosses(NAMES).restore(numbers)
