"""Which items a micro-batch holds, and how items become tensors."""

from collections import Counter

import pytest
import torch

from blissmask.training.data.batch_order import BatchOrder, BucketedItem
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.micro_batch import collate


def item(name="a", *, weights=None, regions=None, outside=None, text_rows=3, mass=64.0):
    latents = torch.ones(16, 1, 2, 2, dtype=torch.bfloat16)
    return TrainingItem(name, latents, weights, outside, regions, {"t5": torch.ones(text_rows, 8)}, mass)


def epoch(order, number):
    size = order.batches_per_epoch
    return [order.indices(place) for place in range(number * size, (number + 1) * size)]


def test_every_epoch_shows_each_item_as_often_as_it_repeats():
    order = BatchOrder([BucketedItem("wide", repeats=2), BucketedItem("wide"), BucketedItem("tall", repeats=3)], seed=1)
    for number in range(3):
        assert Counter(i for batch in epoch(order, number) for i in batch) == {0: 2, 1: 1, 2: 3}


def test_batches_hold_items_of_one_bucket():
    order = BatchOrder([BucketedItem("wide" if n % 2 else "tall", batch_size=2) for n in range(9)], seed=1)
    assert all(len({i % 2 for i in batch}) == 1 for batch in epoch(order, 0))


def test_the_order_depends_on_seed_and_epoch_alone():
    items = [BucketedItem("wide") for _ in range(12)]
    fresh, used = BatchOrder(items, seed=1), BatchOrder(items, seed=1)
    epoch(used, 0), epoch(used, 5)
    assert epoch(fresh, 2) == epoch(used, 2)
    assert epoch(fresh, 2) != epoch(fresh, 3)
    assert epoch(fresh, 2) != epoch(BatchOrder(items, seed=2), 2)


def test_items_without_a_mask_count_as_ones_beside_items_with_one():
    half = torch.full((1, 1, 2, 2), 0.5)
    batch = collate([item("masked", weights=half), item("plain")], 0)
    assert batch.weights_B1FHW[0].unique().tolist() == [0.5]
    assert batch.weights_B1FHW[1].unique().tolist() == [1.0]


def test_a_batch_without_any_mask_has_no_weights():
    assert collate([item(), item()], 0).weights_B1FHW is None


def test_texts_of_different_length_stay_a_list():
    batch = collate([item(text_rows=3), item(text_rows=5)], 0)
    assert [len(text) for text in batch.conditioning["t5"]] == [3, 5]
    assert isinstance(collate([item(), item()], 0).conditioning["t5"], torch.Tensor)


def test_latents_become_float32():
    assert collate([item()], 0).latents_BCFHW.dtype == torch.float32


def test_an_unmasked_step_sees_plain_full_weight():
    masked = collate(
        [item(weights=torch.full((1, 1, 2, 2), 0.5), outside=torch.ones(1, 1, 2, 2), mass=32.0)], 0
    ).without_masks()
    assert masked.weights_B1FHW is None
    assert masked.masses_B.tolist() == [64.0]
    assert masked.outside_masses_B.tolist() == [0.0]


def test_draws_are_counted_by_the_items_before_short_batches_among_them():
    """Seven wide items in threes and two tall ones alone: batches of 3, 3, 1, 1 and 1, in any order."""
    order = BatchOrder([BucketedItem("wide", batch_size=3)] * 7 + [BucketedItem("tall")] * 2, seed=1)
    counted = 0
    for number in range(3 * order.batches_per_epoch):
        assert BatchOrder(order.items, seed=1).first_draw(number) == counted
        counted += len(order.indices(number))
    assert counted == 3 * 9


def test_frames_that_are_shown_have_no_part_in_what_an_item_weighs():
    latents = torch.ones(16, 3, 2, 2)
    shown = TrainingItem("clip", latents, None, None, None, {}, 16.0 * 2 * 4, shown_frames=1)
    batch = collate([shown], 0)
    assert batch.latents_BCFHW.shape[2] == 3
    assert batch.predicted(batch.latents_BCFHW).shape[2] == 2
    assert batch.mean_weights.tolist() == [1.0]
    assert batch.without_masks().masses_B.tolist() == [16.0 * 2 * 4]


def test_what_stands_in_for_a_missing_mask_has_the_frames_that_are_predicted():
    latents, half = torch.ones(16, 3, 2, 2), torch.full((1, 2, 2, 2), 0.5)
    masked, plain = (
        TrainingItem("clip", latents, weights, None, None, {}, 64.0, shown_frames=1) for weights in (half, None)
    )
    assert collate([masked, plain], 0).weights_B1FHW.shape == (2, 1, 2, 2, 2)


@pytest.mark.parametrize("count", [1, 7])
def test_the_number_of_batches_is_the_same_in_every_epoch(count):
    order = BatchOrder([BucketedItem("wide", batch_size=3) for _ in range(count)], seed=0)
    assert len(epoch(order, 4)) == order.batches_per_epoch == -(-count // 3)
