"""The learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from blissmask.errors import UsageError, first_line
from blissmask.training.optim.arguments import accepted_by, parse_arguments, refuse_unknown

_OWN = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")
"""Arguments of transformers' schedules that are no user's to give."""
_FAILS_ALONE = "polynomial"
"""The schedule that may fail without arguments: its lowest rate, 1e-7, may be above the highest."""


@dataclass(frozen=True, slots=True)
class ScheduleOptions:
    """How the learning rate changes over the steps.

    Attributes:
        name: as transformers names it.
        warmup_steps, decay_steps: see :func:`count_steps`.
        cycles: of ``cosine_with_restarts``.
        power: of ``polynomial``.
        min_lr_ratio: lowest learning rate relative to the highest, of the schedules that have one.
        arguments: further ones, each ``key=value``.
    """

    name: str = "constant"
    warmup_steps: str = "0"
    decay_steps: str = "0"
    cycles: int = 1
    power: float = 1.0
    min_lr_ratio: float = 0.0
    arguments: Sequence[str] = ()


def check_schedule(schedule: ScheduleOptions, *, learning_rate: float, steps: int) -> None:
    """Refuse, before a model is loaded, a schedule that cannot be made or that would fail on the way.

    Args:
        schedule: of the learning rate.
        learning_rate: its highest.
        steps: of the learner that gets the fewest.

    Raises:
        UsageError: as :func:`build_scheduler`, or a rate is no number.
    """
    _count(schedule, steps)
    if not schedule.arguments and schedule.name != _FAILS_ALONE:
        # What is left makes no rate that is wrong, and the library behind it takes 3 s of a processor to import.
        return
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate)
    scheduler = cast(LambdaLR, build_scheduler(optimizer, schedule, steps=steps))
    warmup, _ = _count(schedule, steps)
    # The rate is asked for once more after the last step.
    for step in (0, warmup, (warmup + steps) // 2, steps):
        try:
            factors = [float(factor(step)) for factor in scheduler.lr_lambdas]
        except (TypeError, ValueError, ArithmeticError) as error:
            raise _no_rate(schedule, step, first_line(error)) from error
        for factor in factors:
            if not math.isfinite(factor) or factor < 0:
                raise _no_rate(schedule, step, f"it would be {factor:g} times the highest")


def build_scheduler(optimizer: Optimizer, schedule: ScheduleOptions, *, steps: int) -> LRScheduler:
    """Return the learning rate over ``steps`` optimiser steps; stepped once after each.

    Raises:
        UsageError: warm-up and decay do not fit into the steps, or the scheduler does not take its arguments.
    """
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler

    warmup, decay = _count(schedule, steps)
    name = "constant_with_warmup" if schedule.name == "constant" and warmup else schedule.name
    given = parse_arguments(schedule.arguments, option="lr_scheduler_args")
    # transformers drops those of constant schedules without a word.
    accepted = [] if name.startswith("constant") else accepted_by(TYPE_TO_SCHEDULER_FUNCTION[name], but=_OWN)
    refuse_unknown(given, accepted, of=f"the learning rate schedule `{schedule.name}`", option="lr_scheduler_args")
    own = _own_arguments(schedule, decay)
    if "min_lr" in given and "min_lr_rate" in own:
        # The same thing in other units; transformers takes one of the two.
        if schedule.min_lr_ratio:
            raise UsageError(
                "`lr_scheduler_min_lr_ratio` and `min_lr` of `lr_scheduler_args` are both the lowest learning rate",
                fix="give one of the two",
            )
        del own["min_lr_rate"]
    arguments: dict[str, Any] = {**own, **given}
    try:
        return cast(
            LRScheduler,
            get_scheduler(
                name, optimizer, num_warmup_steps=warmup, num_training_steps=steps, scheduler_specific_kwargs=arguments
            ),
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(
            f"the learning rate schedule `{name}` cannot be made: {first_line(error)}",
            fix="check `learning_rate` and `lr_scheduler_args`",
        ) from error


def count_steps(text: str, total: int, *, name: str) -> int:
    """Read a number of steps: ``100``, a fraction below 1 of ``total`` (``0.05``), or a percentage of it (``5%``).

    Raises:
        UsageError: it is none of these, or more than ``total``.
    """
    try:
        value = float(text.removesuffix("%")) / 100 * total if text.endswith("%") else float(text)
    except ValueError as error:
        raise _no_count(text, name) from error
    if not math.isfinite(value):
        raise _no_count(text, name)
    steps = round(value * total) if 0 < value < 1 and not text.endswith("%") else round(value)
    if not 0 <= steps <= total:
        raise UsageError(
            f"`{name}` must be in range [0, {total}], got {text}", fix="it cannot be longer than the training"
        )
    return steps


def _count(schedule: ScheduleOptions, steps: int) -> tuple[int, int]:
    """Return the steps of warm-up and of decay; those of decay are 0 where the schedule has none of its own.

    Raises:
        UsageError: as :func:`count_steps`, or both together are more than ``steps``.
    """
    warmup = count_steps(schedule.warmup_steps, steps, name="lr_warmup_steps")
    if schedule.name != "warmup_stable_decay":
        return warmup, 0
    decay = count_steps(schedule.decay_steps, steps, name="lr_decay_steps")
    if warmup + decay > steps:
        raise UsageError(
            f"`lr_warmup_steps`, {warmup}, and `lr_decay_steps`, {decay}, are longer than the training, {steps} steps",
            fix="shorten one of them",
        )
    return warmup, decay


def _own_arguments(schedule: ScheduleOptions, decay: int) -> dict[str, float]:
    """Return the arguments that have options of their own."""
    match schedule.name:
        case "cosine_with_restarts":
            return {"num_cycles": schedule.cycles}
        case "polynomial":
            return {"power": schedule.power}
        case "cosine_with_min_lr":
            return {"min_lr_rate": schedule.min_lr_ratio}
        case "warmup_stable_decay":
            return {"num_decay_steps": decay, "min_lr_ratio": schedule.min_lr_ratio}
        case _:
            return {}


def _no_count(text: str, name: str) -> UsageError:
    return UsageError(f"`{name}` must be a number of steps, a fraction or a percentage, got {text}")


def _no_rate(schedule: ScheduleOptions, step: int, why: str) -> UsageError:
    return UsageError(
        f"the schedule `{schedule.name}` has no learning rate for step {step}: {why}",
        fix="check `lr_warmup_steps` and `lr_scheduler_args`",
    )
