"""What a step does with its items, and in which steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from blissmask.training.seeds import generator_for
from blissmask.training.weighting.loss import LossType, MaskMean
from blissmask.training.weighting.prior import PriorRule, TriggerFreeRule

_GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class StepRule:
    """What a step does with its items.

    Attributes:
        seed: of the run; every draw is a function of it and the micro-batch's number.
        mean: see ``loss.item_coefficients``.
        area_beta: each item's loss is multiplied by its mean loss weight to this power. With ``mean="sample"``, 1 gives
            the plain mean of loss times weight.
        unmasked_probability: share of the steps that ignore masks.
        prior: None without prior preservation.
        trigger_free: None where captions without the trigger hold nothing.
        loss_type, huber_delta: see ``loss.error_map``.
        weighting: see ``timesteps.loss_factors``.
        strata: see ``timesteps.draw_levels``.
        max_grad_norm: 0 for no clipping.
        max_weight_norm: see ``limit_norms``; 0 for no limit.
        subjects: several, whose regions are told apart in the logs.
    """

    seed: int
    mean: MaskMean = "batch"
    area_beta: float = 0.0
    unmasked_probability: float = 0.0
    prior: PriorRule | None = None
    trigger_free: TriggerFreeRule | None = None
    loss_type: LossType = "mse"
    huber_delta: float = 1.0
    weighting: str = "none"
    strata: int = 0
    max_grad_norm: float = 1.0
    max_weight_norm: float = 0.0
    subjects: tuple[str, ...] = ()


def is_unmasked(rule: StepRule, step: int) -> bool:
    """Return whether step number ``step`` ignores the masks."""
    return _is_drawn(rule.seed, "unmasked", step, rule.unmasked_probability)


def holds_outside(rule: StepRule, step: int) -> bool:
    """Return whether step number ``step`` holds what is outside the masks of learned items to the base model."""
    return rule.prior is not None and _is_held(rule.seed, step, rule.prior.share)


def holds_class(rule: StepRule, step: int) -> bool:
    """Return whether step number ``step`` holds captions without the trigger to the base model."""
    return rule.trigger_free is not None and _is_held(rule.seed, step, rule.trigger_free.share)


def _is_held(seed: int, step: int, share: float) -> bool:
    """Return whether a step is one of a share of them that are spread evenly.

    The multiples of the golden ratio, from a start drawn once, are as even in any stretch of steps as any sequence is,
    for every share at once (Knuth, The Art of Computer Programming 3, 6.4: Theorem S). They have no period that could
    fall together with that of the data. Of two shares the smaller one's steps are among the larger one's, so that both
    need the base model in the same ones.
    """
    start = float(torch.rand((), dtype=torch.float64, generator=generator_for(seed, "held")))
    return (start + step * _GOLDEN_RATIO) % 1.0 < share


def _is_drawn(seed: int, purpose: str, step: int, share: float) -> bool:
    return share > 0 and float(torch.rand((), generator=generator_for(seed, purpose, step))) < share
