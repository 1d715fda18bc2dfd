"""Check what a training state says of an optimiser against the optimiser itself, before it is taken over.

The files of a state may be whole and still not ours: written by another program, or changed together with their
manifest. What does not fit would end the first step with an error from deep inside the optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from blissmask.errors import CacheError
from blissmask.training.optim.optimizer import OptimizerOptions, build_optimizer, set_training_mode


def check_saved_optimizer(
    optimizer: Optimizer,
    options: OptimizerOptions,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
    *,
    set_now: Collection[str] = (),
) -> None:
    """Refuse an optimiser's state that does not fit.

    A second optimiser of the same kind takes one step on a parameter of each shape, and so shows what a state holds.

    Args:
        optimizer: as the settings of now make it; it has not taken a step.
        options: it was made with.
        tensors, numbers: as ``optimizer_state.pack_optimizer`` returned them.
        set_now: options of its groups that are not taken from the state.

    Raises:
        CacheError: something is missing, or has another shape or another kind.
    """
    current = [
        {name: value for name, value in group.items() if name not in set_now}
        for group in optimizer.state_dict()["param_groups"]
    ]
    _check_groups(_table(numbers, "groups", list), current, _group_tensors(tensors, len(current)))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = _by_parameter(tensors, _table(numbers, "state", dict), len(parameters))
    shown: dict[tuple[int, ...], Mapping[str, Any]] = {}
    for position, values in saved.items():
        parameter = parameters[position]
        shape = tuple(parameter.shape)
        if shape not in shown:
            shown[shape] = _state_after_a_step(parameter, options)
        for name, expected in shown[shape].items():
            if name not in values:
                raise _misfit(f"`{name}` of parameter {position} is missing")
            if not _alike(values[name], expected):
                raise _misfit(f"`{name}` of parameter {position} is {_describe(values[name])}")


def _state_after_a_step(parameter: Tensor, options: OptimizerOptions) -> Mapping[str, Any]:
    """Return what an optimiser remembers of a parameter of this shape, tables inside it aside."""
    scratch = torch.nn.Parameter(torch.zeros_like(parameter))
    optimizer = build_optimizer([("lora_A", scratch)], options)
    set_training_mode(optimizer, training=True)
    scratch.grad = torch.ones_like(scratch)
    optimizer.step()
    state = optimizer.state_dict()["state"].get(0, {})
    return {name: value for name, value in state.items() if not isinstance(value, Mapping)}


def _check_groups(
    groups: Sequence[Any], current: Sequence[Mapping[str, Any]], tensors: Mapping[tuple[int, str], Tensor]
) -> None:
    """Compare the options of the parameter groups; ``tensors`` are those of them that are kept as tensors."""
    if len(groups) != len(current):
        raise _misfit(f"it has {len(groups)} parameter groups, and there are {len(current)}")
    for number, (group, own) in enumerate(zip(groups, current, strict=True)):
        if not isinstance(group, dict):
            raise _misfit("a parameter group is no table")
        for name, expected in own.items():
            if (number, name) in tensors:
                fits = tensors[number, name].ndim == 0
            elif name == "params":
                fits = group.get(name) == expected
            else:
                fits = name in group and _alike(group[name], expected)
            if not fits:
                raise _misfit(f"the option `{name}` is {_describe(group.get(name))}")


def _group_tensors(tensors: Mapping[str, Tensor], count: int) -> dict[tuple[int, str], Tensor]:
    """Return the options that are kept as tensors, by the number of their group and their name."""
    found = {}
    for name, tensor in tensors.items():
        parts = name.split(".", 2)
        if parts[0] != "group":
            continue
        if len(parts) < 3:
            raise _misfit(f"there is no parameter group for `{name[:40]}`")
        found[_position(parts[1], count, "parameter group"), parts[2]] = tensor
    return found


def _by_parameter(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], count: int) -> dict[int, dict[str, Any]]:
    """Return position of a parameter -> name -> value."""
    saved: dict[int, dict[str, Any]] = {}
    for index, values in numbers.items():
        if not isinstance(values, dict):
            raise _misfit(f"the state of parameter {index[:20]} is no table")
        saved.setdefault(_position(index, count), {}).update(values)
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        if index != "group":
            saved.setdefault(_position(index, count), {})[key] = tensor
    return saved


def _position(index: str, count: int, noun: str = "parameter") -> int:
    if not index.isascii() or not index.isdecimal() or len(index) > len(str(count)) or int(index) >= count:
        raise _misfit(f"there is no {noun} {index[:20]}")
    return int(index)


def _table(numbers: Mapping[str, Any], name: str, kind: type) -> Any:
    table = numbers.get(name)
    if not isinstance(table, kind):
        raise _misfit(f"`{name}` of its optimiser is {_describe(table)}")
    return table


def _alike(value: Any, expected: Any) -> bool:
    """Return whether a value can stand where an optimiser has ``expected``."""
    if isinstance(expected, Tensor):
        if not isinstance(value, Tensor):
            return expected.ndim == 0 and _is_number(value)
        return value.shape == expected.shape and value.is_floating_point() == expected.is_floating_point()
    if isinstance(expected, (list, tuple)):
        both = isinstance(value, (list, tuple)) and len(value) == len(expected)
        return both and all(_alike(one, other) for one, other in zip(value, expected, strict=True))
    if isinstance(expected, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(expected, bool)
    if _is_number(expected):
        return _is_number(value)
    if expected is None:
        return value is None
    return isinstance(value, type(expected))


def _is_number(value: Any) -> bool:
    if not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return "missing" if value is None else f"a {type(value).__name__} that does not fit"


def _misfit(what: str) -> CacheError:
    return CacheError(f"the training state does not fit the optimiser: {what}")
