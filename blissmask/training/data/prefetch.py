"""Make the micro-batches of the next step in a thread, from items that stay in memory while they fit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from blissmask.free_memory import free_cpu_memory
from blissmask.processes import ALONE, Processes, this_process
from blissmask.training.data.batch_order import BatchOrder
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.micro_batch import MicroBatch, collate
from blissmask.training.device import pins

_MEMORY_SHARE = 0.5
"""The part of the memory left by the models that items may take.

Half is a choice and not a measurement. The rest stays for other programs and for the system's copies of files.
"""


class ItemStore:
    """Items by position. Items that fit into memory are read once, the others again for each use.

    Several threads may use it.

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
            # A tensor of a cache file keeps its file mapped. Linux gives a process 65,530 maps by default, which two
            # files per item would use up at some 32,000 items; so items are kept as copies.
            self._kept[position] = item.copied()
            return self._kept[position]


class Prefetcher:
    """The micro-batches of each step, made one step ahead in a thread. Leaving the context ends the thread.

    Args:
        order: which items a micro-batch holds.
        store: where the items come from.
        accumulation: micro-batches per optimiser step.
        device: of the denoiser. For a GPU the tensors are page-locked here, so that the loop starts their copy without
            waiting; the copy itself takes the GPU about a millisecond.
        processes: that share each step; this process gets its own micro-batches.
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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="blissmask-prefetch")
        self._ahead: dict[int, Future[list[MicroBatch]]] = {}

    def window(self, step: int, *, last: bool) -> list[MicroBatch]:
        """Return the micro-batches of a step, and begin to make those of the next one.

        Args:
            step: number of the optimiser step, from 0.
            last: whether no step comes after it.
        """
        # The first step of a run was not asked for ahead.
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
        positions = self._order.indices(number)
        items: Sequence[TrainingItem] = [
            self._store.item(position).as_shown(seed=self._order.seed, micro_batch=number, place=place)
            for place, position in enumerate(positions)
        ]
        batch = collate(items, number, first_draw=self._order.first_draw(number), positions=positions)
        return batch.pinned() if self._pinned else batch


def memory_budget(models: int = 0) -> int:
    """Return how many bytes of items this process may keep in memory.

    That is half of this process's share of the memory that is free now and that no model will take.

    Args:
        models: bytes of CPU memory that the models of this process will take, as far as they are known.
    """
    return int(max(0.0, free_cpu_memory() / this_process().local_count - models) * _MEMORY_SHARE)
