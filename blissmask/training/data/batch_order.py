"""The order of micro-batches: which items each holds, as a function of its number."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch

from blissmask.training.seeds import generator_for


@dataclass(frozen=True, slots=True)
class BucketedItem:
    """An item as the order of batches knows it.

    Attributes:
        bucket: items of one bucket may share a batch: same data set, same latent shape, same kinds of conditioning.
        repeats: how often an epoch shows the item; 0 for items that are held out.
        batch_size: of the item's data set, >= 1.
    """

    bucket: Hashable
    repeats: int = 1
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The micro-batches of one epoch.

    Attributes:
        batches: positions of the items in each.
        shown_before: how many of the epoch's items are shown before each micro-batch, and last how many in all.
    """

    batches: list[tuple[int, ...]]
    shown_before: tuple[int, ...]


@dataclass(frozen=True)
class BatchOrder:
    """The endless sequence of micro-batches: epoch after epoch, each shuffled from the seed and its number.

    Attributes:
        items: all items of the data set, in a fixed order.
        seed: the run's seed.
    """

    items: Sequence[BucketedItem]
    seed: int
    _epochs: dict[int, _Epoch] = field(default_factory=dict, repr=False, compare=False)

    @functools.cached_property
    def batches_per_epoch(self) -> int:
        """Return how many micro-batches an epoch has; all epochs have the same number."""
        return len(self._batches_of(0))

    def indices(self, micro_batch: int) -> tuple[int, ...]:
        """Return the positions of the items in micro-batch number ``micro_batch``, from the start of the run."""
        epoch, place = divmod(micro_batch, self.batches_per_epoch)
        return self._epoch(epoch).batches[place]

    def first_draw(self, micro_batch: int) -> int:
        """Return how many items all processes were shown in this run before micro-batch number ``micro_batch``."""
        epoch, place = divmod(micro_batch, self.batches_per_epoch)
        shown = self._epoch(epoch).shown_before
        return epoch * shown[-1] + shown[place]

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            # The micro-batches of one step may span two epochs, so the epoch before is kept.
            for old in [number for number in self._epochs if number < epoch - 1]:
                del self._epochs[old]
            batches = self._batches_of(epoch)
            shown_before = itertools.accumulate((len(batch) for batch in batches), initial=0)
            self._epochs[epoch] = _Epoch(batches, tuple(shown_before))
        return self._epochs[epoch]

    def _batches_of(self, epoch: int) -> list[tuple[int, ...]]:
        generator = generator_for(self.seed, "order", epoch)
        buckets: dict[Hashable, list[int]] = {}
        for position, item in enumerate(self.items):
            if item.repeats:
                buckets.setdefault(item.bucket, []).extend([position] * item.repeats)
        batches = []
        # Items are shuffled within their bucket, since a batch has one shape; then the batches of all buckets are
        # shuffled together, so that the shapes alternate.
        for positions in buckets.values():
            shuffled = [positions[place] for place in torch.randperm(len(positions), generator=generator).tolist()]
            size = self.items[positions[0]].batch_size
            batches += [tuple(shuffled[start : start + size]) for start in range(0, len(shuffled), size)]
        return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]
