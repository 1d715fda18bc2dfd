"""Which items each micro-batch holds, as a function of its number; and items put together into tensors.

B items, C channels, F latent frames, H and W latent rows and columns.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blissmask.families.conditioning import READ_ON_HOST
from blissmask.training.data.items import TrainingItem
from blissmask.training.device import send
from blissmask.training.seeds import generator_for


@dataclass(frozen=True, slots=True)
class BucketedItem:
    """Where one item stands in the data set.

    Attributes:
        bucket: items of one bucket may share a batch: same data set, same latent shape, same kinds of conditioning.
        repeats: how often an epoch shows it; 0 for items that are held out.
        batch_size: of its data set, >= 1.
    """

    bucket: Hashable
    repeats: int = 1
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The micro-batches of an epoch, and how many of its items are shown before each of them, and in all."""

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
        """Return the positions of the items in micro-batch number ``micro_batch``, counted from the start of the run."""
        epoch, place = divmod(micro_batch, self.batches_per_epoch)
        return self._epoch(epoch).batches[place]

    def first_draw(self, micro_batch: int) -> int:
        """Return how many items all processes were shown in this run before micro-batch number ``micro_batch``."""
        epoch, place = divmod(micro_batch, self.batches_per_epoch)
        shown = self._epoch(epoch).shown_before
        return epoch * shown[-1] + shown[place]

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            # The window of a step may span two epochs, so the one before is kept.
            for old in [number for number in self._epochs if number < epoch - 1]:
                del self._epochs[old]
            batches = self._batches_of(epoch)
            self._epochs[epoch] = _Epoch(batches, tuple(itertools.accumulate(map(len, batches), initial=0)))
        return self._epochs[epoch]

    def _batches_of(self, epoch: int) -> list[tuple[int, ...]]:
        generator = generator_for(self.seed, "order", epoch)
        buckets: dict[Hashable, list[int]] = {}
        for position, placed in enumerate(self.items):
            if placed.repeats == 0:
                continue
            buckets.setdefault(placed.bucket, []).extend([position] * placed.repeats)
        batches = []
        for positions in buckets.values():
            shuffled = [positions[place] for place in torch.randperm(len(positions), generator=generator).tolist()]
            size = self.items[positions[0]].batch_size
            batches += [tuple(shuffled[start : start + size]) for start in range(0, len(shuffled), size)]
        return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Items of one shape as tensors.

    Attributes:
        number: of the micro-batch, from the start of the run.
        names: stems of its items.
        latents_BCFHW: float32.
        weights_B1FHW: loss weights; None when no item has a mask.
        outside_B1FHW: cells that the prior term holds; None when there are none.
        regions_B4FHW: region shares, 0 everywhere for items without; None when no item has any.
        conditioning: stacked where shapes agree, a list where they differ.
        masses_B, outside_masses_B: per item, float64, on the CPU.
        shown_frames: as in :class:`blissmask.training.data.items.TrainingItem`; weights, outside and regions are
            without them.
        first_draw: items shown in this run before this micro-batch's.
    """

    number: int
    names: tuple[str, ...]
    latents_BCFHW: Tensor
    weights_B1FHW: Tensor | None
    outside_B1FHW: Tensor | None
    regions_B4FHW: Tensor | None
    conditioning: Mapping[str, Tensor | list[Tensor]]
    masses_B: Tensor
    outside_masses_B: Tensor
    shown_frames: int = 0
    first_draw: int = 0

    @property
    def numbers_per_item(self) -> int:
        """Return how many numbers of an item are predicted: channels times frames, rows and columns."""
        return self.predicted(self.latents_BCFHW[:1]).numel()

    @property
    def mean_weights(self) -> Tensor:
        """Return the mean loss weight of each item, (B,), 0..1, float64."""
        return self.masses_B / self.numbers_per_item

    def predicted(self, latents_BCFHW: Tensor) -> Tensor:
        """Return the part of ``latents_BCFHW`` that the denoiser predicts, whose frames are those of weights, outside and regions."""
        return latents_BCFHW[:, :, self.shown_frames :] if self.shown_frames else latents_BCFHW

    def without_masks(self) -> MicroBatch:
        """Return it with every cell at weight 1."""
        masses_B = torch.full_like(self.masses_B, self.numbers_per_item)
        unweighted = dataclasses.replace(self, weights_B1FHW=None, outside_B1FHW=None, masses_B=masses_B)
        return dataclasses.replace(unweighted, outside_masses_B=torch.zeros_like(masses_B))

    def to(self, device: torch.device) -> MicroBatch:
        """Return it with the tensors that the forward pass needs on ``device``; what is only counted stays."""
        if device.type == "cpu":
            return self
        return self._with_each(lambda tensor: send(tensor, device))

    def pinned(self) -> MicroBatch:
        """Return it with all that travels in page-locked memory, from which a GPU copies while the host goes on."""
        return self._with_each(Tensor.pin_memory)

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> MicroBatch:
        """Return it with ``change`` made to every tensor that travels."""

        def changed(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
            return change(value) if isinstance(value, Tensor) else [change(tensor) for tensor in value]

        return dataclasses.replace(
            self,
            latents_BCFHW=change(self.latents_BCFHW),
            weights_B1FHW=None if self.weights_B1FHW is None else change(self.weights_B1FHW),
            outside_B1FHW=None if self.outside_B1FHW is None else change(self.outside_B1FHW),
            regions_B4FHW=None if self.regions_B4FHW is None else change(self.regions_B4FHW),
            conditioning={
                name: value if name in READ_ON_HOST else changed(value) for name, value in self.conditioning.items()
            },
        )


def collate(items: Sequence[TrainingItem], number: int, *, first_draw: int = 0) -> MicroBatch:
    """Put items of one bucket together. Items without a mask, beside items with one, get weight 1 everywhere."""
    channels, *sizes = items[0].predicted.shape
    outside_B1FHW = _stack_present([item.outside_1fhw for item in items], torch.zeros(1, *sizes))
    return MicroBatch(
        number,
        tuple(item.name for item in items),
        torch.stack([item.latents_Cfhw.float() for item in items]),
        _stack_present([item.weights_1fhw for item in items], torch.ones(1, *sizes)),
        outside_B1FHW,
        _stack_present([item.regions_4fhw for item in items], torch.zeros(4, *sizes)),
        {name: _stack_or_list([item.conditioning[name] for item in items]) for name in items[0].conditioning},
        torch.tensor([item.mass for item in items], dtype=torch.float64),
        torch.zeros(len(items), dtype=torch.float64)
        if outside_B1FHW is None
        else channels * outside_B1FHW.flatten(1).sum(dim=1, dtype=torch.float64),
        items[0].shown_frames,
        first_draw,
    )


def _stack_present(planes: list[Tensor | None], instead: Tensor) -> Tensor | None:
    if all(plane is None for plane in planes):
        return None
    return torch.stack([instead if plane is None else plane for plane in planes])


def _stack_or_list(tensors: list[Tensor]) -> Tensor | list[Tensor]:
    same = all(tensor.shape == tensors[0].shape for tensor in tensors)
    return torch.stack(tensors) if same else tensors
