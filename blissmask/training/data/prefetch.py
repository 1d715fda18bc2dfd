"""Bring micro-batches to the loop before it asks for them: items stay in memory while they fit, the next step's are made in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from blissmask.training.data.batches import BatchOrder, MicroBatch, collate
from blissmask.training.data.items import TrainingItem
from blissmask.training.device import pins
from blissmask.training.memory.host_memory import free_cpu_memory
from blissmask.training.processes import ALONE, Processes, local_place

_MEMORY_SHARE = 0.5
"""The part that cached items may take of the memory that the models leave."""


class ItemStore:
    """Items by position, read at most once each while ``budget`` bytes last; those that do not fit are read whenever they are asked for.

    Safe to ask from several threads.

    Args:
        read: returns the item at a position; called from one thread at a time.
        budget: bytes of tensors to keep.
    """

    def __init__(self, read: Callable[[int], TrainingItem], *, budget: int) -> None:
        self._read = read
        self._room = budget
        self._kept: dict[int, TrainingItem] = {}
        self._lock = threading.Lock()

    def item(self, position: int) -> TrainingItem:
        """Return the item at ``position``; raises what ``read`` raises."""
        with self._lock:
            if position in self._kept:
                return self._kept[position]
            item = self._read(position)
            if item.byte_count > self._room:
                return item
            self._room -= item.byte_count
            # As copies: a process may have 65,530 maps, and two files an item would use them up at some 32,000 items.
            self._kept[position] = item.copied()
            return self._kept[position]


class Prefetcher:
    """The micro-batches of each step, one step ahead. A context manager: leaving it ends the thread.

    Args:
        order: which items a micro-batch holds.
        store: where they come from.
        accumulation: micro-batches per optimiser step.
        device: where the tensors are needed; for a GPU they are page-locked here, so that the loop hands them over
            without waiting. The copy itself takes its turn among the GPU's work: a millisecond or so.
        processes: that share each step; this one gets its own micro-batches.
    """

    def __init__(
        self,
        order: BatchOrder,
        store: ItemStore,
        *,
        accumulation: int,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self._order = order
        self._store = store
        self._accumulation = accumulation
        self._processes = processes
        self._pinned = pins(device)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="blissmask-feed")
        self._ahead: dict[int, Future[list[MicroBatch]]] = {}

    def window(self, step: int, *, last: bool) -> list[MicroBatch]:
        """Return the micro-batches of optimiser step ``step`` (from 0), and begin with the next ones unless this is the last step."""
        current = self._ahead.pop(step, None) or self._thread.submit(self._make, step)
        if not last:
            self._ahead[step + 1] = self._thread.submit(self._make, step + 1)
        return current.result()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _make(self, step: int) -> list[MicroBatch]:
        return [self._batch(number) for number in self._processes.micro_batches(step, self._accumulation)]

    def _batch(self, number: int) -> MicroBatch:
        items: Sequence[TrainingItem] = [self._store.item(position) for position in self._order.indices(number)]
        batch = collate(items, number, first_draw=self._order.first_draw(number))
        return batch.pinned() if self._pinned else batch


def memory_budget(models: int = 0) -> int:
    """Return how many bytes of items this process may keep: half of its share of the memory that is free now and that no model will take.

    Args:
        models: bytes of CPU memory that the models of this process will take, as far as they are known.
    """
    return int(max(0.0, free_cpu_memory() / local_place()[1] - models) * _MEMORY_SHARE)
