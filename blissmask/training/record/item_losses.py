"""The loss of each item over the times that it was drawn: which photo is learned worst, as far as training has seen it.

B items of a micro-batch, N items of the data set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from blissmask.errors import CacheError
from blissmask.events import ItemLoss
from blissmask.processes import Processes
from blissmask.training.weighting.loss import EMPTY_MASS

_MOST_WAITING = 1000
"""Micro-batches whose losses stay on the device. Reading them waits for it, once in so many; each takes 512 bytes, the
smallest block that PyTorch's allocator gives on a GPU."""
_UNIT = 2.0**30
"""Losses are rounded to a unit of 1e-9 before they are added up. Sums below 8 million are then exact in float64, so
that they come out the same in whichever order, over any number of processes, and after any number of saves."""


class ItemLosses:
    """Counts and sums of every item. Losses stay on the device between two readings, so that no step waits for it.

    Args:
        names: of all items, by position; unique.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._waiting: list[tuple[Sequence[int], Tensor, Tensor]] = []
        # Rows: times drawn, summed losses. Float64 counts exactly up to 2**53.
        self._own_2N = torch.zeros(2, len(names), dtype=torch.float64)
        self._total_2N = torch.zeros_like(self._own_2N)

    def add(self, positions: Sequence[int], masses_B: Tensor, sums_B: Tensor) -> None:
        """Take the losses of a micro-batch of this process.

        Args:
            positions: of its items.
            masses_B: of their weights, on the CPU; items without any teach nothing and do not count.
            sums_B: their weighted sums of errors, on any device.
        """
        self._waiting.append((positions, masses_B, sums_B))
        if len(self._waiting) >= _MOST_WAITING:
            self._read()

    def gather(self, processes: Processes) -> None:
        """Bring what all processes have seen since the last time into the totals; all of them must call it."""
        self._read()
        self._total_2N += processes.sum(self._own_2N)
        self._own_2N = torch.zeros_like(self._own_2N)

    def worst_first(self) -> list[ItemLoss]:
        """Return the items that were drawn, as of the last :meth:`gather`."""
        found = [
            ItemLoss(name, int(draws), summed / draws)
            for name, draws, summed in zip(self._names, *self._total_2N.tolist(), strict=True)
            if draws
        ]
        return sorted(found, key=_by_loss)

    def numbers(self) -> dict[str, list[float]]:
        """Return the totals for a training state: name -> times drawn, summed loss."""
        return {
            name: [int(draws), summed]
            for name, draws, summed in zip(self._names, *self._total_2N.tolist(), strict=True)
            if draws
        }

    def restore(self, numbers: object) -> None:
        """Go on with the totals of a training state; items that are no longer there are left out.

        Args:
            numbers: from :meth:`numbers`; None for a state that holds none.

        Raises:
            CacheError: they are something else.
        """
        self._total_2N.zero_()
        if numbers is None:
            return
        if not isinstance(numbers, Mapping) or not all(map(_is_total, numbers.values())):
            raise CacheError(
                "the training state holds losses of items that are no numbers",
                fix="remove it to continue from an older one",
            )
        for position, name in enumerate(self._names):
            if name in numbers:
                self._total_2N[:, position] = torch.tensor(numbers[name], dtype=torch.float64)

    def _read(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        positions_B = torch.tensor([position for positions, _, _ in waiting for position in positions])
        masses_B = torch.cat([masses for _, masses, _ in waiting])
        # One transfer for all of them; a step computes no finer than float32.
        sums_B = torch.cat([sums.float() for _, _, sums in waiting]).cpu().double()
        learns_B = masses_B > EMPTY_MASS
        losses_B = (sums_B[learns_B] / masses_B[learns_B] * _UNIT).round() / _UNIT
        self._own_2N[0].index_add_(0, positions_B[learns_B], torch.ones_like(losses_B))
        self._own_2N[1].index_add_(0, positions_B[learns_B], losses_B)


def _by_loss(item: ItemLoss) -> float:
    return -item.loss


def _is_total(value: object) -> bool:
    """Return whether a value from a file is a number of draws, at least one, and a finite sum."""
    if not isinstance(value, list) or len(value) != 2 or any(isinstance(number, bool) for number in value):
        return False
    draws, summed = value
    return isinstance(draws, int) and 0 < draws < 2**53 and isinstance(summed, int | float) and math.isfinite(summed)
