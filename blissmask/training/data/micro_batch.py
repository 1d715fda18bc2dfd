"""The tensors of a micro-batch, and putting items together in one.

B items, C channels, F latent frames, H and W latent rows and columns.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.families.denoisers.conditioning import READ_ON_HOST
from blissmask.masks.tiers import TIERS
from blissmask.training.data.items import TrainingItem
from blissmask.training.device import send
from blissmask.training.weighting.loss import weight_masses


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Items of one shape as tensors.

    Attributes:
        number: of the micro-batch, from the start of the run.
        names: stems of its items.
        positions: of its items in the data set; empty where nobody asks.
        subjects: of its items, as in :class:`blissmask.training.data.items.TrainingItem`; a bucket is of one data set.
        latents_BCFHW: float32.
        weights_B1FHW: loss weights of cells, or of the ``subcells`` x ``subcells`` parts of each cell; None when no
            item has a mask. Outside and regions lie on the same grid.
        outside_B1FHW: cells that the prior term holds to the base model; None when there are none.
        regions_B4FHW: region shares, 0 everywhere for items without; None when no item has any.
        subjects_BQFHW: of several subjects, the region shares of each, Q = 4 x subjects; 0 everywhere of one whom
            an item does not show. None where no item tells them apart.
        conditioning: stacked where shapes agree, a list where they differ.
        class_conditioning: the same with the class word instead of the trigger in captions; items without such a
            caption have their own. None when no item has one.
        prior_only: whether its items are held to the base model everywhere, and teach nothing; a bucket is of one kind.
        has_class_text: which items have such a caption.
        masses_B, outside_masses_B: per item, float64, on the CPU.
        shown_frames: as in :class:`blissmask.training.data.items.TrainingItem`; weights, outside and regions have no
            values for them.
        first_draw: items shown in this run before this micro-batch's.
        subcells: parts along a side of a latent cell that have weights of their own; 1 in most families.
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
    subcells: int = 1
    class_conditioning: Mapping[str, Tensor | list[Tensor]] | None = None
    has_class_text: tuple[bool, ...] = ()
    prior_only: bool = False
    positions: tuple[int, ...] = ()
    subjects: tuple[str, ...] = ()
    subjects_BQFHW: Tensor | None = None

    def regions_of(self, subject: str) -> Tensor | None:
        """Return the region shares of one of several subjects, (B, 4, F, H, W); None where they are not known."""
        if self.subjects == (subject,):
            return self.regions_B4FHW
        if subject not in self.subjects or self.subjects_BQFHW is None:
            return None
        return self.subjects_BQFHW.narrow(1, len(TIERS) * self.subjects.index(subject), len(TIERS))

    @property
    def class_masses(self) -> Tensor:
        """Return the masses of the items with a caption that has the class word; 0 for the others."""
        if self.class_conditioning is None:
            return torch.zeros_like(self.masses_B)
        return self.masses_B * torch.tensor(self.has_class_text, dtype=torch.float64)

    @property
    def channels_of_a_weight(self) -> int:
        """Return how many channels share one weight."""
        return self.latents_BCFHW.shape[1] // self.subcells**2

    @property
    def numbers_per_item(self) -> int:
        """Return how many numbers of an item are predicted: channels times frames, rows and columns."""
        return self.predicted(self.latents_BCFHW[:1]).numel()

    @property
    def mean_weights(self) -> Tensor:
        """Return the mean loss weight of each item, (B,), 0..1, float64."""
        return self.masses_B / self.numbers_per_item

    def predicted(self, latents_BCFHW: Tensor) -> Tensor:
        """Return the frames of ``latents_BCFHW`` that the denoiser predicts: those of weights, outside and regions."""
        return latents_BCFHW[:, :, self.shown_frames :] if self.shown_frames else latents_BCFHW

    def without_masks(self) -> MicroBatch:
        """Return the micro-batch with every cell at weight 1; one that teaches nothing stays as it is."""
        if self.prior_only:
            return self
        return dataclasses.replace(
            self,
            weights_B1FHW=None,
            outside_B1FHW=None,
            masses_B=torch.full_like(self.masses_B, self.numbers_per_item),
            outside_masses_B=torch.zeros_like(self.outside_masses_B),
        )

    def to(self, device: torch.device) -> MicroBatch:
        """Return the micro-batch with the tensors of the forward pass on ``device``; masses stay on the CPU."""
        if device.type == "cpu":
            return self
        return self._with_each(functools.partial(send, device=device))

    def pinned(self) -> MicroBatch:
        """Return the micro-batch with the tensors of the forward pass in page-locked memory.

        A GPU copies from such memory while the host continues.
        """
        return self._with_each(Tensor.pin_memory)

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> MicroBatch:
        """Return the micro-batch with ``change`` made to every tensor of the forward pass."""

        def changed(name: str, value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
            # The denoiser reads these on the CPU; on a GPU each look would wait for the device.
            if name in READ_ON_HOST:
                return value
            return change(value) if isinstance(value, Tensor) else [change(tensor) for tensor in value]

        return dataclasses.replace(
            self,
            latents_BCFHW=change(self.latents_BCFHW),
            weights_B1FHW=None if self.weights_B1FHW is None else change(self.weights_B1FHW),
            outside_B1FHW=None if self.outside_B1FHW is None else change(self.outside_B1FHW),
            regions_B4FHW=None if self.regions_B4FHW is None else change(self.regions_B4FHW),
            subjects_BQFHW=None if self.subjects_BQFHW is None else change(self.subjects_BQFHW),
            conditioning={name: changed(name, value) for name, value in self.conditioning.items()},
            class_conditioning=None
            if self.class_conditioning is None
            else {name: changed(name, value) for name, value in self.class_conditioning.items()},
        )


def collate(
    items: Sequence[TrainingItem], number: int, *, first_draw: int = 0, positions: Sequence[int] = ()
) -> MicroBatch:
    """Put items of one bucket together.

    Beside items with a mask, items without one get weight 1 everywhere.

    Args:
        items: at least one.
        number: of the micro-batch, from the start of the run.
        first_draw: items shown in this run before this micro-batch's.
        positions: of the items in the data set, where their losses are to be told apart.
    """
    channels, frames, rows, columns = items[0].predicted.shape
    # Beside items with weights for the parts of a cell, a cell of an item without has parts of equal weight.
    subcells = max(item.subcells for item in items)
    grid = (frames, rows * subcells, columns * subcells)
    outside_B1FHW = _stack_planes([item.outside_1fhw for item in items], torch.zeros(1, *grid))
    outside_masses_B = torch.zeros(len(items), dtype=torch.float64)
    if outside_B1FHW is not None:
        outside_masses_B = weight_masses(outside_B1FHW, channels // subcells**2)
    return MicroBatch(
        number=number,
        names=tuple(item.name for item in items),
        latents_BCFHW=torch.stack([item.latents_Cfhw.float() for item in items]),
        weights_B1FHW=_stack_planes([item.weights_1fhw for item in items], torch.ones(1, *grid)),
        outside_B1FHW=outside_B1FHW,
        regions_B4FHW=_stack_planes([item.regions_4fhw for item in items], torch.zeros(4, *grid)),
        conditioning=_conditioning([item.conditioning for item in items]),
        masses_B=torch.tensor([item.mass for item in items], dtype=torch.float64),
        outside_masses_B=outside_masses_B,
        shown_frames=items[0].shown_frames,
        first_draw=first_draw,
        subcells=subcells,
        class_conditioning=_class_conditioning(items),
        has_class_text=tuple(item.class_text is not None for item in items),
        prior_only=items[0].prior_only,
        positions=tuple(positions),
        subjects=items[0].subjects,
        subjects_BQFHW=_stack_planes(
            [item.subjects_Qfhw for item in items], torch.zeros(len(TIERS) * len(items[0].subjects), *grid)
        ),
    )


def _conditioning(of_items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor | list[Tensor]]:
    return {name: _stack_or_list([one[name] for one in of_items]) for name in of_items[0]}


def _class_conditioning(items: Sequence[TrainingItem]) -> dict[str, Tensor | list[Tensor]] | None:
    if all(item.class_text is None for item in items):
        return None
    return _conditioning([{**item.conditioning, **(item.class_text or {})} for item in items])


def _stack_planes(planes: list[Tensor | None], default: Tensor) -> Tensor | None:
    """Stack one plane per item on the grid of ``default``, which items without get; None when no item has one."""
    if all(plane is None for plane in planes):
        return None
    return torch.stack([default if plane is None else _on_grid_of(default, plane) for plane in planes])


def _on_grid_of(default: Tensor, plane: Tensor) -> Tensor:
    """Return ``plane`` with each cell repeated for its parts where ``default`` has parts and ``plane`` has none."""
    times = default.shape[-1] // plane.shape[-1]
    return plane if times == 1 else plane.repeat_interleave(times, dim=-1).repeat_interleave(times, dim=-2)


def _stack_or_list(tensors: list[Tensor]) -> Tensor | list[Tensor]:
    """Stack tensors of one shape; tensors of several shapes, such as captions of several lengths, stay a list."""
    have_one_shape = all(tensor.shape == tensors[0].shape for tensor in tensors)
    return torch.stack(tensors) if have_one_shape else tensors
