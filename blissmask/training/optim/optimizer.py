"""Optimisers by name or by dotted class path, and learning rates over the steps."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from blissmask.errors import MissingPackageError, UsageError, first_line

_KNOWN = {
    "adamw": "torch.optim.AdamW",
    "adamw8bit": "bitsandbytes.optim.AdamW8bit",
    "adafactor": "transformers.optimization.Adafactor",
    "prodigy": "prodigyopt.Prodigy",
    "schedulefree": "schedulefree.AdamWScheduleFree",
}
_FIXED_RATE = {"adafactor": {"relative_step": False, "scale_parameter": False, "warmup_init": False}}
"""Adafactor's own schedule ignores the learning rate; users who set one mean it."""
_TO_INSTALL = {"bitsandbytes": "bitsandbytes", "prodigyopt": "prodigyopt", "schedulefree": "schedulefree"}


@dataclass(frozen=True, slots=True)
class OptimizerOptions:
    """Which optimiser, and with what.

    Attributes:
        name: one of the short names here, or a dotted class path.
        arguments: of the class, each ``key=value``.
        learning_rate: > 0; with LoRA+ that of A.
        weight_decay: >= 0.
        loraplus_lr_ratio: learning rate of B relative to A; None gives both the same.
    """

    name: str = "adamw"
    arguments: Sequence[str] = ()
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    loraplus_lr_ratio: float | None = None


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


def build_optimizer(named_parameters: Sequence[tuple[str, nn.Parameter]], options: OptimizerOptions) -> Optimizer:
    """Return the optimiser that ``options`` names, over all parameters.

    Raises:
        UsageError: no such class, or it does not take the arguments.
        MissingPackageError: the class is in a package that is not installed.
    """
    name = options.name.lower()
    path = _KNOWN.get(name, options.name)
    make = _find_class(path)
    if not (isinstance(make, type) and issubclass(make, Optimizer)):
        raise UsageError(f"`{path}` is no optimiser class", fix=_choices())
    arguments = {
        "lr": options.learning_rate,
        "weight_decay": options.weight_decay,
        **_FIXED_RATE.get(name, {}),
        **parse_arguments(options.arguments),
    }
    try:
        return make(_groups(named_parameters, options), **arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"`{path}` does not take these arguments: {error}", fix="check `optimizer_args`") from error


def check_optimizer(options: OptimizerOptions, schedule: ScheduleOptions, *, steps: int, device: torch.device) -> None:
    """Refuse, before a model is loaded, an optimiser or a schedule that cannot be made or cannot take a step.

    Args:
        options: of the optimiser.
        schedule: of its learning rate.
        steps: of the learner that gets the fewest.
        device: that training runs on; some optimisers work on one kind alone.

    Raises:
        UsageError, MissingPackageError: as :func:`build_optimizer` and :func:`build_scheduler`.
    """
    small = [(name, nn.Parameter(torch.zeros(2, 2, device=device))) for name in ("lora_A", "lora_B")]
    optimizer = build_optimizer(small, options)
    for _, parameter in small:
        parameter.grad = torch.ones_like(parameter)
    set_training_mode(optimizer, training=True)
    try:
        optimizer.step()
    except Exception as error:
        # Any class that the user names may be behind it.
        raise UsageError(
            f"`{options.name}` cannot train with these settings: {first_line(error)}", fix=_choices()
        ) from error
    count_steps(schedule.warmup_steps, steps, name="lr_warmup_steps")
    if schedule.arguments:
        # Only then, since it loads a large library.
        build_scheduler(optimizer, schedule, steps=steps)


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` texts, values as Python literals or else as text; only the first ``=`` separates.

    Raises:
        UsageError: a text has no ``=``.
    """
    arguments: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"`{text}` must be written KEY=VALUE", fix="e.g. `--optimizer-args betas=0.9,0.99`")
        try:
            arguments[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            arguments[key.strip()] = value.strip()
    return arguments


def build_scheduler(optimizer: Optimizer, schedule: ScheduleOptions, *, steps: int) -> LRScheduler:
    """Return the learning rate over ``steps`` optimiser steps; stepped once after each.

    Raises:
        UsageError: the warm-up does not fit into the steps, or the scheduler does not take its arguments.
    """
    from transformers.optimization import get_scheduler

    warmup = count_steps(schedule.warmup_steps, steps, name="lr_warmup_steps")
    arguments: dict[str, Any] = parse_arguments(schedule.arguments)
    match schedule.name:
        case "cosine_with_restarts":
            arguments.setdefault("num_cycles", schedule.cycles)
        case "polynomial":
            arguments.setdefault("power", schedule.power)
        case "cosine_with_min_lr":
            arguments.setdefault("min_lr_rate", schedule.min_lr_ratio)
        case "warmup_stable_decay":
            arguments.setdefault("num_decay_steps", count_steps(schedule.decay_steps, steps, name="lr_decay_steps"))
            arguments.setdefault("min_lr_ratio", schedule.min_lr_ratio)
        case _:
            pass
    if arguments and schedule.name.startswith("constant"):
        # transformers would drop them without a word.
        raise UsageError(
            f"the learning rate schedule `{schedule.name}` takes no arguments",
            fix="leave out `lr_scheduler_args`",
        )
    name = "constant_with_warmup" if schedule.name == "constant" and warmup else schedule.name
    try:
        return cast(
            LRScheduler,
            get_scheduler(
                name, optimizer, num_warmup_steps=warmup, num_training_steps=steps, scheduler_specific_kwargs=arguments
            ),
        )
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the learning rate schedule `{name}` cannot be made: {error}", fix="check `lr_scheduler_args`"
        ) from error


def count_steps(text: str, total: int, *, name: str) -> int:
    """Read a number of steps: ``100``, a fraction below 1 of ``total`` (``0.05``), or a percentage of it (``5%``).

    Raises:
        UsageError: it is none of these, or more than ``total``.
    """
    try:
        value = float(text.removesuffix("%")) / 100 * total if text.endswith("%") else float(text)
    except ValueError as error:
        raise UsageError(f"--{name} must be a number of steps, a fraction or a percentage, got {text}") from error
    steps = round(value * total) if 0 < value < 1 and not text.endswith("%") else round(value)
    if not 0 <= steps <= total:
        raise UsageError(
            f"--{name} must be in range [0, {total}], got {text}", fix="it cannot be longer than the training"
        )
    return steps


def set_training_mode(optimizer: Optimizer, *, training: bool) -> None:
    """Switch a schedule-free optimiser between the weights it trains and those to be read; others have one kind."""
    switch: Callable[[], None] | None = getattr(optimizer, "train" if training else "eval", None)
    if switch is not None:
        switch()


def _groups(named_parameters: Sequence[tuple[str, nn.Parameter]], options: OptimizerOptions) -> list[dict[str, Any]]:
    """Return one parameter group, or two when B learns faster than A (LoRA+)."""
    if options.loraplus_lr_ratio is None:
        return [{"params": [parameter for _, parameter in named_parameters]}]
    second = [parameter for name, parameter in named_parameters if "lora_B" in name]
    first = [parameter for name, parameter in named_parameters if "lora_B" not in name]
    return [{"params": first}, {"params": second, "lr": options.learning_rate * options.loraplus_lr_ratio}]


def _find_class(path: str) -> Any:
    module_name, _, class_name = path.rpartition(".")
    try:
        found = (
            getattr(importlib.import_module(module_name), class_name)
            if module_name
            else getattr(torch.optim, class_name)
        )
    except ImportError as error:
        package = path.partition(".")[0]
        if package in _TO_INSTALL:
            raise MissingPackageError(
                f"`{path}` needs the package `{package}`", fix=f"pip install {_TO_INSTALL[package]}"
            ) from error
        raise UsageError(f"the optimiser `{path}` cannot be imported: {error}", fix=_choices()) from error
    except AttributeError as error:
        raise UsageError(f"there is no optimiser `{path}`", fix=_choices()) from error
    return found


def _choices() -> str:
    return f"there are {', '.join(_KNOWN)}, or a dotted class path"
