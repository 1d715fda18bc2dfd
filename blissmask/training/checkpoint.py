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
import shutil
from collections.abc import Mapping
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


def save_state(folder: Path, name: str, state: State, *, keep_last: int) -> Path:
    """Publish a state, then remove all but the newest ``keep_last``.

    Raises:
        MachineError: the disk is full; older states are untouched.
    """
    target = state_path(folder, name, state.step)
    part = folder / f".{target.name}{_PART}"
    try:
        _remove(part)
        part.mkdir(parents=True)
        # An optimiser without memory, such as plain SGD, has no tensors and gets no file.
        for file_name, tensors in ((name, tensors) for name, tensors in state.tensors.items() if tensors):
            write.save_tensors(part / f"{file_name}.safetensors", dict(tensors), {})
        atomic.write_text(part / _STATE, json.dumps({"step": state.step, **state.numbers}, indent=1, sort_keys=True))
        atomic.write_text(part / _MANIFEST, json.dumps(_describe(part), indent=1, sort_keys=True))
        _remove(target)
        part.rename(target)
        _sync(folder)
    except OSError as error:
        _remove(part)
        raise MachineError(
            f"cannot save the training state: {error.strerror or error}", where=[target], fix="free some space, then run again"
        ) from error
    except BaseException:
        _remove(part)
        raise
    for _, old in find_states(folder, name).whole[:-keep_last]:
        _remove(old)
    return target


def load_state(path: Path) -> State:
    """Read a state that :func:`find_states` found whole. Raises CacheError when a file cannot be read."""
    try:
        numbers = json.loads((path / _STATE).read_text(encoding="utf-8"))
        step = int(numbers["step"])
    except (OSError, ValueError, KeyError) as error:
        raise CacheError("the training state cannot be read", where=[path], fix="remove it to continue from an older one") from error
    tensors = {file.stem: read_tensors(file) for file in sorted(path.glob("*.safetensors"))}
    return State(step, numbers, tensors)


def remove_states(folder: Path, name: str) -> None:
    """Remove every state of output ``name`` and what killed saves left behind."""
    found = find_states(folder, name)
    for path in (*(path for _, path in found.whole), *found.damaged, *folder.glob(f".{_escaped(name)}-step*{_PART}")):
        _remove(path)


def pack_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors and JSON numbers; :func:`unpack_optimizer` puts them together again."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {"state": {}, "groups": []}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
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
    optimizer.load_state_dict({"state": state, "param_groups": groups})


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


def _describe(folder: Path) -> dict[str, dict[str, object]]:
    files = sorted(path for path in folder.iterdir() if path.name != _MANIFEST)
    return {path.name: {"size": path.stat().st_size, "sha256": _hash(path)} for path in files}


def _is_whole(path: Path) -> bool:
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest == _describe(path))
    except (OSError, ValueError):
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
