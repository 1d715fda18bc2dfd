"""The loss of items that are held out, at the same noise and the same noise levels every time.

A loss that falls here is learned, not memorised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from blissmask.masks.tiers import TIERS
from blissmask.processes import ALONE, Processes
from blissmask.training.data.batch_order import BucketedItem
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.micro_batch import MicroBatch, collate
from blissmask.training.device import send
from blissmask.training.experts import Learner
from blissmask.training.seeds import derive_seed, generator_for
from blissmask.training.step.run_step import noise_batch
from blissmask.training.step.step_rule import StepRule
from blissmask.training.weighting.loss import (
    error_map,
    item_coefficients,
    mass_counts,
    region_masses,
    region_sums,
    weighted_sums,
)

LEVELS = 4
"""Noise levels at which each item is looked at: the middles of as many equally likely strata."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What validation looks at.

    Attributes:
        positions: of the held-out items.
        item: returns the item at a position.
        rule: how losses are weighed; the same as in training but for area, noise weighting and prior term.
        device: of the denoiser.
        processes: that share the items.
    """

    positions: Sequence[int]
    item: Callable[[int], TrainingItem]
    rule: StepRule
    device: torch.device
    processes: Processes = ALONE


def choose_held_out(count: int, share: float, *, seed: int, left_out: Collection[int] = ()) -> tuple[int, ...]:
    """Return the positions of the items to hold out, chosen by the seed alone.

    Args:
        count: items of the data set.
        share: of the items that are not left out, [0, 1); above 0 at least one item is held out.
        seed: of the run.
        left_out: positions of items that are neither trained nor validated on.
    """
    if share == 0:
        return ()
    # All are shuffled, so that one item more or less to leave out does not change the lot of the others.
    shuffled = torch.randperm(count, generator=generator_for(seed, "validation")).tolist()
    apart = set(left_out)
    candidates = [position for position in shuffled if position not in apart]
    return tuple(sorted(candidates[: max(1, round(share * len(candidates)))]))


def without(items: Sequence[BucketedItem], positions: Collection[int]) -> list[BucketedItem]:
    """Return the items with those at ``positions`` shown in no epoch; positions stay."""
    apart = set(positions)
    return [replace(item, repeats=0) if at in apart else item for at, item in enumerate(items)]


def validate(learner: Learner, held_out: HeldOut) -> dict[str, Tensor | float]:
    """Return ``val/loss`` and the plain mean error of each region, ``val/loss/face`` and so on.

    An expert with a name has ``val/loss/high`` too. The result is empty when every held-out mask is. No state of the
    training changes.
    """
    own = _own_share(held_out)
    # Of the items alone: the micro-batches of all of them together would be gigabytes.
    masses = [
        torch.tensor([held_out.item(position).mass], dtype=torch.float64) for position in own for _ in range(LEVELS)
    ]
    counts = held_out.processes.sum(mass_counts(masses))
    coefficients = item_coefficients(masses, mean=held_out.rule.mean, counts=counts)
    learner.denoiser.module.eval()
    with torch.no_grad():
        sums, shown_R = learner.run(partial(_look_at_all, learner, own, coefficients, held_out))
    learner.denoiser.module.train()
    sums, masses_R = held_out.processes.sum(sums), held_out.processes.sum(shown_R).tolist()
    if not float(counts[0]):
        return {}
    values: dict[str, Tensor | float] = {"val/loss": sums[0]}
    if learner.name:
        values[f"val/loss/{learner.name}"] = sums[0]
    return values | {
        f"val/loss/{tier.value}": sums[1 + at] / masses_R[at] for at, tier in enumerate(TIERS) if masses_R[at] > 0
    }


def _look_at_all(
    learner: Learner, own: Sequence[int], coefficients: Iterable[Tensor], held_out: HeldOut
) -> tuple[Tensor, Tensor]:
    """Return (loss, summed error of each region) of the items at ``own``, and the mass of each region, (R,)."""
    sums, shown_R = torch.zeros(1 + len(TIERS), device=held_out.device), torch.zeros(len(TIERS))
    each = iter(coefficients)
    for position in own:
        item = held_out.item(position)
        for level in range(LEVELS):
            batch = _look(item, position, level)
            sums += _errors(learner, batch, next(each), held_out)
            if batch.regions_B4FHW is not None:
                shown_R += region_masses(batch.regions_B4FHW, batch.channels_of_a_weight)
    for _ in range(_extra_passes(held_out, len(own) * LEVELS)):
        first = held_out.positions[0]
        _errors(learner, _look(held_out.item(first), first, 0), torch.zeros(1), held_out)
    return sums, shown_R


def _own_share(held_out: HeldOut) -> Sequence[int]:
    return held_out.positions[held_out.processes.rank :: held_out.processes.count]


def _extra_passes(held_out: HeldOut, own: int) -> int:
    """Return how many passes to make beside ``own``, because other processes have more; see ``Processes.lockstep``."""
    most = -(-len(held_out.positions) // held_out.processes.count) * LEVELS
    return most - own if held_out.processes.lockstep else 0


def _look(item: TrainingItem, position: int, level: int) -> MicroBatch:
    # The number decides the noise: every item and level has its own, the same each time.
    return collate([item], position * LEVELS + level)


def _errors(learner: Learner, batch: MicroBatch, coefficients_B: Tensor, held_out: HeldOut) -> Tensor:
    """Return (share of the loss, summed error of each region) of one item at one level."""
    rows, columns = batch.latents_BCFHW.shape[-2:]
    middle = torch.tensor([(batch.number % LEVELS + 0.5) / LEVELS], dtype=torch.float64)
    levels_B = learner.noise((int(rows), int(columns))).quantile(middle).float()
    moved = batch.to(held_out.device)
    seed = derive_seed(held_out.rule.seed, "validation")
    target_BCFHW, inputs = noise_batch(moved, levels_B, seed=seed, device=held_out.device)
    pred_BCFHW, target_BCFHW = moved.predicted(learner.denoiser.predict(inputs)), moved.predicted(target_BCFHW)
    errors_B1FHW = error_map(
        pred_BCFHW,
        target_BCFHW,
        loss_type=held_out.rule.loss_type,
        huber_delta=held_out.rule.huber_delta,
        subcells=moved.subcells,
    )
    loss = (weighted_sums(errors_B1FHW, moved.weights_B1FHW) * send(coefficients_B.float(), held_out.device)).sum()
    regions_R = torch.zeros(len(TIERS), device=held_out.device)
    if moved.regions_B4FHW is not None:
        regions_R = region_sums(errors_B1FHW, moved.regions_B4FHW)
    return torch.cat([loss.reshape(1), regions_R])
