"""What an optimiser remembers, as tensors and JSON numbers, and back: training states hold no pickles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from blissmask.errors import first_line
from blissmask.training.optim.rehearsal import misfit

_INSIDE = "/"
"""Between the name of a table in an optimiser's state and the names in it."""
_RATES = ("lr", "initial_lr")
"""Options of a group that follow the schedule."""


def pack_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors and JSON numbers; :func:`unpack_optimizer` puts them together again."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {"state": {}, "groups": []}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in _flattened(values).items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value.detach().to("cpu").contiguous().clone()
            else:
                numbers["state"].setdefault(str(index), {})[key] = value
    for group_index, group in enumerate(optimizer.state_dict()["param_groups"]):
        for key, value in group.items():
            if isinstance(value, Tensor):
                tensors[f"group.{group_index}.{key}"] = value.detach().to("cpu").clone()
        numbers["groups"].append({key: value for key, value in group.items() if not isinstance(value, Tensor)})
    return tensors, numbers


def unpack_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Restore what :func:`pack_optimizer` took.

    Raises:
        CacheError: it is not what it took.
    """
    try:
        _unpack(optimizer, tensors, numbers)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise misfit(first_line(error)) from error


def _unpack(optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in numbers["state"].items()}
    groups = [dict(group) for group in numbers["groups"]]
    for name, tensor in tensors.items():
        if name.startswith("group."):
            _, group_index, key = name.split(".", 2)
            groups[int(group_index)][key] = tensor
        else:
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
    for group in groups:
        # JSON has no tuples; optimisers compare and unpack `betas`.
        group.update({key: tuple(value) for key, value in group.items() if key == "betas"})
    optimizer.load_state_dict(
        {"state": {index: _nested(values) for index, values in state.items()}, "param_groups": groups}
    )


def restore_optimizer(
    optimizer: Optimizer,
    scheduler: LRScheduler,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
    *,
    steps: int,
    options: Iterable[str],
) -> None:
    """Bring an optimiser and its schedule to where they were saved.

    What the user sets stays as it is now: whoever resumes with a lower learning rate means it.

    Args:
        optimizer, scheduler: as the settings of now make them.
        tensors, numbers: what :func:`pack_optimizer` took.
        steps: that the optimiser had taken.
        options: names of the group options, learning rates aside, that are the user's and stay as they are now.

    Raises:
        CacheError: the state is of another kind.
    """
    wanted = [
        {name: group[name] for name in options if name in group and name not in _RATES}
        for group in optimizer.param_groups
    ]
    numeric = [
        [name for name, value in group.items() if isinstance(value, (int, float))] for group in optimizer.param_groups
    ]
    base_rates = list(scheduler.base_lrs)
    unpack_optimizer(optimizer, tensors, numbers)
    # Every schedule on offer is of this kind: the rate of a step is the base rate times a factor.
    scheduler.last_epoch, scheduler._step_count = steps, steps + 1
    factors = [factor(scheduler.last_epoch) for factor in cast(LambdaLR, scheduler).lr_lambdas]
    rates = [base * factor for base, factor in zip(base_rates, factors, strict=True)]
    scheduler.base_lrs, scheduler._last_lr = base_rates, rates
    for group, kept, base, rate in zip(optimizer.param_groups, wanted, base_rates, rates, strict=True):
        group.update(kept, initial_lr=base, lr=rate)
    for group, names in zip(optimizer.param_groups, numeric, strict=True):
        for name in names:
            # A list in the place of a number may go well for exactly as many parameters as it is long.
            if not isinstance(group.get(name), (int, float, Tensor)):
                raise misfit(f"its option `{name}` is no number")


def _flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter's state without tables inside it; bitsandbytes keeps its 8-bit numbers in one."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flattened(value) if isinstance(value, Mapping) else None
        flat |= {key: value} if inner is None else {f"{key}{_INSIDE}{name}": part for name, part in inner.items()}
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`_flattened` resolved."""
    values: dict[str, Any] = {}
    for key, value in flat.items():
        *tables, name = key.split(_INSIDE)
        table = values
        for outer in tables:
            table = table.setdefault(outer, {})
        table[name] = value
    return values
