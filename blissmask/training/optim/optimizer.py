"""Optimisers by name or by dotted class path."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from blissmask.errors import MissingPackageError, UsageError, first_line
from blissmask.training.device import is_out_of_memory
from blissmask.training.optim.arguments import accepted_by, parse_arguments, refuse_unknown

_KNOWN = {
    "adamw": "torch.optim.AdamW",
    "adamw8bit": "bitsandbytes.optim.AdamW8bit",
    "adafactor": "transformers.optimization.Adafactor",
    "prodigy": "prodigyopt.Prodigy",
    "schedulefree": "schedulefree.AdamWScheduleFree",
}
_FIXED_RATE = {"adafactor": {"relative_step": False, "scale_parameter": False, "warmup_init": False}}
"""Adafactor's own schedule ignores the learning rate; users who set one mean it."""
_OPTION = "optimizer_args"
_OWN = ("params", "lr")
"""Arguments of an optimiser that no user gives there."""
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


def build_optimizer(named_parameters: Sequence[tuple[str, nn.Parameter]], options: OptimizerOptions) -> Optimizer:
    """Return the optimiser that ``options`` names, over all parameters.

    Raises:
        UsageError: no such class, or it does not take the arguments.
        MissingPackageError: the class is in a package that is not installed.
    """
    path, make, arguments = _class_and_arguments(options)
    try:
        # Prodigy prints on stdout, which is for data, what it does anyway.
        with contextlib.redirect_stdout(io.StringIO()):
            return make(_groups(named_parameters, options), **arguments)
    except Exception as error:
        # Any class that the user names may be behind it.
        if is_out_of_memory(error):
            raise
        what = f"`{path}` does not take these arguments: {first_line(error)}"
        raise UsageError(what, fix="check `optimizer_args`") from error


def _class_and_arguments(options: OptimizerOptions) -> tuple[str, type[Optimizer], dict[str, Any]]:
    """Return the path of the class that ``options`` names, the class, and its arguments, whose names it takes."""
    name = options.name.lower()
    path = _KNOWN.get(name, options.name)
    make = _find_class(path)
    if not (isinstance(make, type) and issubclass(make, Optimizer)):
        raise UsageError(f"`{path}` is no optimiser class", fix=_choices())
    given = _given(options, path, make)
    return path, make, {**_common(options, path, make), **_FIXED_RATE.get(name, {}), **given}


def check_optimizer(options: OptimizerOptions, *, device: torch.device | None) -> None:
    """Refuse, before anything is made for a training, an optimiser that cannot be made or cannot take a step.

    Args:
        options: of the optimiser.
        device: that training runs on; some optimisers work on one kind alone. None makes none, since the first
            takes torch 1 s of CPU time: the class is found, and the names of its arguments are compared.

    Raises:
        UsageError, MissingPackageError: as :func:`build_optimizer`, or it cannot take a step.
    """
    if device is None:
        _class_and_arguments(options)
        return
    small = [(name, nn.Parameter(torch.zeros(2, 2, device=device))) for name in ("lora_A", "lora_B")]
    optimizer = build_optimizer(small, options)
    for _, parameter in small:
        parameter.grad = torch.ones_like(parameter)
    try:
        set_training_mode(optimizer, training=True)
        optimizer.step()
    except Exception as error:
        # Any class that the user names may be behind it.
        raise UsageError(
            f"`{options.name}` cannot train with these settings: {first_line(error)}", fix=_choices()
        ) from error


def set_training_mode(optimizer: Optimizer, *, training: bool) -> None:
    """Switch a schedule-free optimiser between the weights it trains and those to be read; others have one kind."""
    switch: Callable[[], None] | None = getattr(optimizer, "train" if training else "eval", None)
    if switch is not None:
        switch()


def _common(options: OptimizerOptions, path: str, make: type[Optimizer]) -> dict[str, float]:
    """Return the arguments that have options of their own."""
    accepted = accepted_by(make, but=())
    if accepted is None or "weight_decay" in accepted:
        return {"lr": options.learning_rate, "weight_decay": options.weight_decay}
    if options.weight_decay:
        raise UsageError(f"`{path}` has no weight decay", fix="set `weight_decay = 0`")
    return {"lr": options.learning_rate}


def _given(options: OptimizerOptions, path: str, make: type[Optimizer]) -> dict[str, Any]:
    """Return the arguments that the user adds."""
    given = parse_arguments(options.arguments, option=_OPTION)
    if "lr" in given:
        raise UsageError(f"`{_OPTION}` gives `lr`, which is an option of its own", fix="set `learning_rate`")
    refuse_unknown(given, accepted_by(make, but=_OWN), of=f"`{path}`", option=_OPTION)
    return given


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
        if error.name == package:
            raise MissingPackageError(
                f"the optimiser `{path}` cannot be imported: there is no package `{package}` on this machine",
                fix=f"install it, or correct the name: {_choices()}",
            ) from error
        raise UsageError(f"the optimiser `{path}` cannot be imported: {error}", fix=_choices()) from error
    except AttributeError as error:
        raise UsageError(f"there is no optimiser `{path}`", fix=_choices()) from error
    except Exception as error:
        # Any module that the user names may be behind it, and the name may be that of none, such as `..AdamW`.
        what = f"the optimiser `{path}` cannot be imported: {first_line(error)}"
        raise UsageError(what, fix=_choices()) from error
    return found


def _choices() -> str:
    return f"there are {', '.join(_KNOWN)}, or a dotted class path"
