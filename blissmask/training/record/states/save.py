"""Saving a training state: written under a hidden name, then renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from blissmask.cachefile import write
from blissmask.errors import MachineError
from blissmask.storage import atomic, held_folders
from blissmask.training.record.states.faults import MANIFEST, describe
from blissmask.training.record.states.folders import FILES, STATE, hidden_name, state_path, state_steps
from blissmask.training.record.states.replace import (
    finish_replacing,
    marker_file,
    remove_if_possible,
    remove_old,
    remove_parts,
    remove_state,
    remove_states,
)


@dataclass(frozen=True, slots=True)
class TrainingState:
    """A training state to save.

    Attributes:
        step: optimiser steps done.
        numbers: everything that JSON can hold.
        tensors: name of the file, without its suffix -> its tensors.
    """

    step: int
    numbers: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


def save_state(folder: Path, name: str, state: TrainingState, *, keep_last: int | None, anew: bool = False) -> Path:
    """Publish a state, then remove all but the newest ``keep_last``.

    Args:
        folder: output folder.
        name: of the output.
        state: what to save.
        keep_last: states to keep, >= 1; None for all that are there.
        anew: whether this is the first state of a run that replaces an earlier one. The earlier run's states are
            removed once this state is written, and not before.

    Raises:
        MachineError: the disk is full, or the folder is gone; older states are untouched.
    """
    target = state_path(folder, name, state.step)
    part = hidden_name(target)
    held_folders.check(target)
    try:
        remove_parts(folder, name)
        atomic.sweep(folder)
        finish_replacing(folder, name)
        _write_files(part, state)
        remove_state(target)
        replaces = anew and bool(state_steps(folder, name))
        if replaces:
            atomic.write_text(marker_file(folder, name), target.name)
        part.rename(target)
        atomic.sync(folder)
        if replaces:
            remove_states(folder, name, but=target)
        if keep_last is not None:
            remove_old(folder, name, keep_last)
    except OSError as error:
        remove_if_possible(part)
        raise MachineError(
            f"cannot save the training state: {error.strerror or error}",
            where=[target],
            fix="free some space, then run again",
        ) from error
    except BaseException:
        remove_if_possible(part)
        raise
    return target


def _write_files(folder: Path, state: TrainingState) -> None:
    """Write the files of a state into ``folder``, the manifest last."""
    folder.mkdir(parents=True)
    # An optimiser without memory, such as plain SGD, has no tensors and gets no file.
    files = {f"{name}.safetensors": dict(tensors) for name, tensors in state.tensors.items() if tensors}
    for file_name, tensors in files.items():
        write.save_tensors(folder / file_name, tensors, {})
    numbers = {"step": state.step, FILES: list(files), **state.numbers}
    atomic.write_text(folder / STATE, json.dumps(numbers, indent=1, sort_keys=True))
    # The manifest lists the names that were written, not the names that are there: a file that someone removed in the
    # meantime must make the state damaged.
    manifest = describe(folder, [*files, STATE])
    atomic.write_text(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
