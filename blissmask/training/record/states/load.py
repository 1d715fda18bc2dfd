"""Reading a training state that was found whole, and giving parameters their saved values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from blissmask.cachefile.read_file import read_tensors
from blissmask.errors import CacheError, first_line
from blissmask.storage.ordinary import is_no_file, read_text
from blissmask.training.record.states.faults import fault_of, states_unreadable
from blissmask.training.record.states.folders import FILES, STATE

_NAME = re.compile(r".*-step(\d{8,})-state", re.DOTALL)
_START_ANEW = "use `--no-resume`, or another `output_name`"


@dataclass(frozen=True, slots=True)
class SavedState:
    """A whole training state on disk; its tensors are read when they are needed.

    Attributes:
        path: its folder.
        step: optimiser steps done.
        numbers: the content of ``state.json``.
    """

    path: Path
    step: int
    numbers: Mapping[str, Any]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the settings of the run that saved it."""
        settings: Mapping[str, Any] = self.numbers["settings"]
        return settings

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Read the tensors: name of the file, without its suffix -> its tensors.

        Raises:
            CacheError: a file cannot be read, or the state is not the one that was found, hours ago where a model was
                loaded or a cache was made in between.
            MachineError: its folder cannot be looked at, or a file does not fit into memory.
        """
        try:
            fault = fault_of(self.path, by_size=True)
        except OSError as error:
            raise states_unreadable(error, self.path) from error
        if fault:
            what = f"the training state changed since the run was planned: {fault}"
            raise CacheError(
                what, where=[self.path], fix="run the same command again: it looks for the newest whole state"
            )
        return {Path(name).stem: read_tensors(self.path / name) for name in self.numbers[FILES]}


def load_state(path: Path) -> SavedState:
    """Read the numbers of a state that :func:`find_states` found whole.

    Raises:
        CacheError: they are gone, or are not those of a state.
        MachineError: a drive fails, or the rights forbid to read them.
    """
    file = path / STATE
    try:
        numbers = json.loads(read_text(file))
    except OSError as error:
        if not is_no_file(error):
            raise states_unreadable(error, file) from error
        raise _unreadable(file, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, f"cannot be read: {first_line(error)}") from error
    if not isinstance(numbers, dict):
        raise _unreadable(file, "is no table")
    # States of earlier trees name none: theirs are the ones that the manifest was compared with.
    files = numbers.setdefault(FILES, sorted(each.name for each in path.glob("[!.]*.safetensors")))
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise _unreadable(file, "does not say which files belong to it")
    settings = numbers.setdefault("settings", {})
    arguments = settings.get("optimizer_args", []) if isinstance(settings, dict) else None
    if not isinstance(arguments, list) or not all(isinstance(argument, str) for argument in arguments):
        raise _unreadable(file, "holds settings of another kind")
    match = _NAME.fullmatch(path.name)
    step = numbers.get("step")
    if not is_whole_number(step) or (match and step != int(match[1])):
        raise _unreadable(file, f"says that it is of step {str(step)[:20]}, and its folder is of another")
    return SavedState(path, step, numbers)


def restore_parameters(named: Sequence[tuple[str, Tensor]], tensors: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into the parameters, or averages of parameters, of the same names.

    Raises CacheError when names or shapes differ.
    """
    names = [name for name, _ in named]
    if sorted(names) != sorted(tensors):
        on_one_side = min(set(names) ^ set(tensors))
        raise CacheError(f"the training state is of another LoRA: `{on_one_side}` is only on one side", fix=_START_ANEW)
    with torch.no_grad():
        for name, parameter in named:
            if parameter.shape != tensors[name].shape:
                raise CacheError(f"the training state has another size for `{name}`", fix=_START_ANEW)
            if not tensors[name].is_floating_point() or not bool(tensors[name].float().isfinite().all()):
                raise CacheError(
                    f"the training state holds no numbers, or NaN or infinity, for `{name}`",
                    fix="remove it to continue from an older one",
                )
            parameter.copy_(tensors[name])


def is_whole_number(value: object, *, most: int = 10**12) -> TypeGuard[int]:
    """Return whether a value from a file is a whole number from 0 to ``most``, by default more than any run counts."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _unreadable(file: Path, what: str) -> CacheError:
    fix = "remove the folder to continue from an older state"
    return CacheError(f"the training state {what}", where=[file], fix=fix)
