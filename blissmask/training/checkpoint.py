"""Training states: folders that exist whole or not at all, without pickles.

    NAME-step00000500-state/
        lora*.safetensors, optimizer*.safetensors    tensors
        state.json                                   numbers: step, schedules, settings
        manifest.json                                size and SHA-256 of every other file, written last

A state is written under a hidden name, then renamed. Older ones are removed only after that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from blissmask.cachefile import write
from blissmask.cachefile.read import read_tensors
from blissmask.errors import CacheError, MachineError
from blissmask.storage import atomic

_MANIFEST = "manifest.json"
_STATE = "state.json"
_PART = ".blissmask-state-part"
_INSIDE = "/"
"""Between the name of a table in an optimiser's state and the names in it."""


@dataclass(frozen=True, slots=True)
class State:
    """What a training state holds.

    Attributes:
        step: optimiser steps done.
        numbers: everything that JSON can hold.
        tensors: file name without suffix -> its tensors.
    """

    step: int
    numbers: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Found:
    """The states of one output name: the newest whole one, all whole ones with their steps, and the damaged ones."""

    newest: Path | None
    whole: tuple[tuple[int, Path], ...]
    damaged: tuple[Path, ...]


def state_path(folder: Path, name: str, step: int) -> Path:
    """Return the folder of a state; spelled as musubi-tuner does."""
    return folder / f"{name}-step{step:08d}-state"


def find_states(folder: Path, name: str) -> Found:
    """Look for the training states of output ``name``; every file of a whole one has the size and hash it was written with."""
    pattern = re.compile(re.escape(name) + r"-step(\d{8})-state")
    steps = {}
    for path in sorted(folder.glob(f"{_escaped(name)}-step*-state")) if folder.is_dir() else []:
        if match := pattern.fullmatch(path.name):
            steps[path] = int(match[1])
    whole = tuple(sorted((step, path) for path, step in steps.items() if _is_whole(path)))
    damaged = tuple(path for path in steps if path not in {path for _, path in whole})
    return Found(whole[-1][1] if whole else None, whole, damaged)


def save_state(folder: Path, name: str, state: State, *, keep_last: int, anew: bool = False) -> Path:
    """Publish a state, then remove all but the newest ``keep_last``.

    Args:
        folder: output folder.
        name: of the output.
        state: what to save.
        keep_last: states to keep, >= 1.
        anew: the first state of a run that replaces an earlier one, whose states go once this one is written, and not before.

    Raises:
        MachineError: the disk is full; older states are untouched.
    """
    target = state_path(folder, name, state.step)
    part = _hidden(target)
    try:
        # Of killed saves; another number of steps between saves would never come by them again.
        for leftover in _parts(folder, name):
            _remove(leftover)
        part.mkdir(parents=True)
        # An optimiser without memory, such as plain SGD, has no tensors and gets no file.
        files = {f"{name}.safetensors": dict(tensors) for name, tensors in state.tensors.items() if tensors}
        for file_name, tensors in files.items():
            write.save_tensors(part / file_name, tensors, {})
        atomic.write_text(part / _STATE, json.dumps({"step": state.step, **state.numbers}, indent=1, sort_keys=True))
        # By the names that were written: what someone else took away in the meantime must not pass for never having been there.
        manifest = _describe(part, [*files, _STATE])
        atomic.write_text(part / _MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
        if anew:
            remove_states(folder, name, but=part)
        _remove(target)
        part.rename(target)
        _sync(folder)
        for _, old in find_states(folder, name).whole[:-keep_last]:
            _remove(old)
    except OSError as error:
        _remove(part)
        raise MachineError(
            f"cannot save the training state: {error.strerror or error}", where=[target], fix="free some space, then run again"
        ) from error
    except BaseException:
        _remove(part)
        raise
    return target


def load_state(path: Path) -> State:
    """Read a state that :func:`find_states` found whole. Raises CacheError when a file cannot be read."""
    try:
        numbers = json.loads((path / _STATE).read_text(encoding="utf-8"))
        step = int(numbers["step"])
    except (OSError, ValueError, KeyError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CacheError(
            f"the training state cannot be read: {why}", where=[path], fix="remove it to continue from an older one"
        ) from error
    tensors = {file.stem: read_tensors(file) for file in sorted(path.glob("*.safetensors"))}
    return State(step, numbers, tensors)


def remove_states(folder: Path, name: str, *, but: Path | None = None) -> None:
    """Remove every state of output ``name`` and what killed saves left behind, ``but`` one of them."""
    found = find_states(folder, name)
    for path in (*(path for _, path in found.whole), *found.damaged, *_parts(folder, name)):
        if path != but:
            _remove(path)


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
    """Restore what :func:`pack_optimizer` took."""
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
    optimizer.load_state_dict({"state": {index: _nested(values) for index, values in state.items()}, "param_groups": groups})


def _flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a parameter's state with tables in it resolved; bitsandbytes keeps its 8-bit numbers in one."""
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


def read_parameters(named: list[tuple[str, torch.nn.Parameter]], tensors: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into parameters of the same names. Raises CacheError when the names or shapes differ."""
    names = [name for name, _ in named]
    if sorted(names) != sorted(tensors):
        missing = sorted(set(names) ^ set(tensors))
        raise CacheError(
            f"the training state is of another LoRA: `{missing[0]}` is only on one side", fix="use `--no-resume`, or another `output_name`"
        )
    with torch.no_grad():
        for name, parameter in named:
            if parameter.shape != tensors[name].shape:
                raise CacheError(f"the training state has another size for `{name}`", fix="use `--no-resume`, or another `output_name`")
            parameter.copy_(tensors[name])


def _describe(folder: Path, names: Iterable[str]) -> dict[str, dict[str, object]]:
    return {name: {"size": (folder / name).stat().st_size, "sha256": _hash(folder / name)} for name in sorted(names)}


def _parts(folder: Path, name: str) -> list[Path]:
    """Return the hidden folders of saves that were begun and not finished."""
    return list(folder.glob(f".{_escaped(name)}-step*{_PART}"))


def _is_whole(path: Path) -> bool:
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest == _describe(path, (file.name for file in path.iterdir() if file.name != _MANIFEST)))
    except (OSError, ValueError):
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    """Remove a state, out of sight first: a kill in between leaves no half of it to be taken for a damaged one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path if path.name.endswith(_PART) else path.rename(_hidden(path)))


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{_PART}")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
