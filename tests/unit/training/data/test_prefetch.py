"""Items are read once and kept in memory of their own, while there is room for them beside the models."""

import pytest
import torch

from blissmask.processes import Processes
from blissmask.training.data import prefetch as feed
from blissmask.training.data.batch_order import BatchOrder, BucketedItem
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.prefetch import ItemStore, Prefetcher, memory_budget

CPU, GIB = torch.device("cpu"), 1 << 30


def item(size=4):
    latents = torch.zeros(16, 1, size, size)
    return TrainingItem("a", latents, None, None, None, {"t5": torch.zeros(2, 8)}, 1.0)


class Reader:
    def __init__(self):
        self.positions = []

    def __call__(self, position):
        self.positions.append(position)
        return item()


def test_an_item_that_fits_is_read_once():
    reader = Reader()
    store = ItemStore(reader, budget=item().byte_count)
    assert store.item(3) is store.item(3)
    assert reader.positions == [3]


def test_items_beyond_the_budget_are_read_whenever_they_are_asked_for():
    reader = Reader()
    store = ItemStore(reader, budget=item().byte_count)
    for position in (0, 1, 1, 0):
        store.item(position)
    assert reader.positions == [0, 1, 1]


def test_kept_items_share_no_memory_with_what_was_read():
    """A tensor of a safetensors file is a view of the file: two maps an item, and a process may have 65,530."""
    read = item()
    kept = ItemStore(lambda position: read, budget=GIB).item(0)
    pairs = [
        (read.latents_Cfhw, kept.latents_Cfhw),
        *zip(read.conditioning.values(), kept.conditioning.values(), strict=True),
    ]
    assert all(before.data_ptr() != after.data_ptr() for before, after in pairs)


@pytest.mark.parametrize(("models", "processes", "kept"), [(0, 1, 20), (10, 1, 15), (10, 2, 5), (60, 1, 0)])
def test_items_get_half_of_what_the_models_leave(monkeypatch, models, processes, kept):
    monkeypatch.setattr(feed, "free_cpu_memory", lambda: 40 * GIB)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert memory_budget(models * GIB) == kept * GIB


ORDER = BatchOrder([BucketedItem("wide", batch_size=2)] * 3, seed=1)
"""Two items and one, or one and two, epoch by epoch."""


def test_draws_are_counted_over_all_processes_and_go_on_after_a_resume():
    def counts(processes, steps):
        seen = {}
        for rank in range(processes):
            with Prefetcher(
                ORDER, ItemStore(Reader(), budget=0), accumulation=1, device=CPU, processes=Processes(rank, processes)
            ) as made:
                for step in steps:
                    (batch,) = made.window(step, last=True)
                    seen[batch.number] = (batch.first_draw, len(batch.names))
        return seen

    alone = counts(1, range(8))
    assert all(alone[number + 1][0] == first + held for number, (first, held) in alone.items() if number < 7)
    assert counts(2, range(4)) == alone
    assert counts(1, range(5, 8)) == {number: alone[number] for number in range(5, 8)}


def test_all_that_travels_to_a_gpu_is_page_locked_ahead(monkeypatch):
    locked = []

    def pin(tensor):
        locked.append(tensor.clone())
        return locked[-1]

    def masked(position):
        planes = torch.ones(1, 1, 4, 4)
        texts = {
            "t5": torch.zeros(2 + position, 8),
            "clip": torch.zeros(2, 8),
            "f_indices": torch.zeros(1, dtype=torch.int32),
        }
        return TrainingItem("a", torch.zeros(16, 1, 4, 4), planes, planes, torch.ones(4, 1, 4, 4), texts, 1.0)

    monkeypatch.setattr(feed, "pins", lambda device: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    order = BatchOrder([BucketedItem("wide", batch_size=2)] * 2, seed=1)
    with Prefetcher(order, ItemStore(masked, budget=GIB), accumulation=1, device=CPU) as made:
        (batch,) = made.window(0, last=True)
    texts = batch.conditioning["t5"]
    travelling = [
        batch.latents_BCFHW,
        batch.weights_B1FHW,
        batch.outside_B1FHW,
        batch.regions_B4FHW,
        batch.conditioning["clip"],
        *texts,
    ]
    assert len(texts) == 2
    assert {id(tensor) for tensor in travelling} == {id(tensor) for tensor in locked}
