"""A step before any forward pass: the noise level of every item, and how much it counts in the step's mean.

B items. It needs the masks alone, so all processes agree on it before any of them predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.processes import Processes
from blissmask.training.data.micro_batch import MicroBatch
from blissmask.training.experts import Learner
from blissmask.training.step.step_rule import StepRule, holds_class, holds_outside, is_unmasked
from blissmask.training.timesteps import draw_levels, loss_factors
from blissmask.training.weighting.loss import EMPTY_MASS, item_coefficients, mass_counts


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A micro-batch, its noise levels, and what the sums of each item are multiplied by; all on the CPU.

    Attributes:
        batch: without its masks in a step that ignores them.
        levels_B: noise levels, 0..1.
        coefficients_B: of the errors that are learned from, at least 0.
        prior_coefficients_B: of the distance from the base model outside the mask, at least 0.
        prior_factor: of that distance's gradient: 0 where the step does not hold the items.
        class_coefficients_B: of that distance with the class word in the caption, at least 0.
    """

    batch: MicroBatch
    levels_B: Tensor
    coefficients_B: Tensor
    prior_coefficients_B: Tensor
    prior_factor: float
    class_coefficients_B: Tensor

    @property
    def packed(self) -> Tensor:
        """Return levels and all kinds of coefficients as one float32 tensor (4, B), so that one copy sends all."""
        coefficients = (self.coefficients_B, self.prior_coefficients_B, self.class_coefficients_B)
        return torch.stack([self.levels_B, *(each_B.float() for each_B in coefficients)])

    @property
    def has_prior(self) -> bool:
        """Whether the prior term holds any item to the base model."""
        return self.prior_factor > 0 and bool(self.prior_coefficients_B.any())

    @property
    def has_class(self) -> bool:
        """Whether any item is held to the base model with the class word in its caption."""
        return bool(self.class_coefficients_B.any())

    @property
    def asks_base(self) -> bool:
        """Whether the base model must predict, too: once, whoever needs it."""
        return self.has_prior or self.has_class

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn from."""
        return not self.asks_base and not bool(self.coefficients_B.any())


def prepare(
    learner: Learner, window: Sequence[MicroBatch], rule: StepRule, step: int, processes: Processes
) -> list[PreparedBatch]:
    """Draw the noise levels of every item, and decide how much it counts in the step's mean.

    Args:
        learner: whose noise levels are drawn.
        window: the micro-batches of the step that this process has.
        rule: of the step.
        step: its number, from 0.
        processes: that share the step.
    """
    batches = list(window)
    if is_unmasked(rule, step):
        batches = [batch.without_masks() for batch in window]
    masses = [batch.masses_B for batch in batches]
    outside_masses = [batch.outside_masses_B for batch in batches]
    # Of all items, also in steps that hold none of them: whether an item is held must not move the others.
    class_masses = [batch.class_masses for batch in batches]
    counts = processes.sum(torch.stack([mass_counts(masses), mass_counts(outside_masses), mass_counts(class_masses)]))
    coefficients = item_coefficients(masses, mean=rule.mean, counts=counts[0])
    outside_coefficients = item_coefficients(outside_masses, mean=rule.mean, counts=counts[1])
    class_coefficients = item_coefficients(class_masses, mean=rule.mean, counts=counts[2])
    trigger_free = rule.trigger_free if holds_class(rule, step) else None
    prepared = []
    for batch, coefficients_B, outside_B, class_B in zip(
        batches, coefficients, outside_coefficients, class_coefficients, strict=True
    ):
        levels_B = _draw_levels_of(batch, learner, rule)
        area_B = batch.mean_weights**rule.area_beta
        prior_B = 0.0 if rule.prior is None else rule.prior.strengths(levels_B, step=step)
        trigger_free_B = 0.0 if trigger_free is None else trigger_free.strengths(levels_B)
        prepared.append(
            PreparedBatch(
                batch=batch,
                levels_B=levels_B,
                coefficients_B=coefficients_B * area_B * loss_factors(levels_B, rule.weighting),
                prior_coefficients_B=outside_B * prior_B,
                prior_factor=_prior_factor(batch, rule, step),
                class_coefficients_B=class_B * trigger_free_B,
            )
        )
    return prepared


def _prior_factor(batch: MicroBatch, rule: StepRule, step: int) -> float:
    """Return what the gradient of the prior term is multiplied by.

    Batches of which nothing is learned, of items that are only held or whose masks are empty, are held in every step: a
    step without would be lost.
    """
    if rule.prior is None or not bool((batch.masses_B > EMPTY_MASS).any()):
        return 1.0
    return 1.0 / rule.prior.share if holds_outside(rule, step) else 0.0


def _draw_levels_of(batch: MicroBatch, learner: Learner, rule: StepRule) -> Tensor:
    rows, columns = batch.latents_BCFHW.shape[-2:]
    return draw_levels(
        learner.noise((int(rows), int(columns))),
        len(batch.names),
        seed=rule.seed,
        micro_batch=batch.number,
        strata=rule.strata,
        first=batch.first_draw,
    )
