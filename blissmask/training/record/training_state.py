"""Training states: folders that exist whole or not at all, without pickles.

    NAME-step00000500-state/
        lora*.safetensors, optimizer*.safetensors    tensors
        state.json                                   numbers: step, schedules, settings
        manifest.json                                size and SHA-256 of every other file, written last

A state is written under a hidden name, then renamed; only after that are older states removed.

A run that starts anew replaces the states of an earlier run. While it removes them, a hidden file names its own first
state, so that after a kill it is clear which states count.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from blissmask.cachefile import write
from blissmask.cachefile.read import read_tensors
from blissmask.errors import CacheError, MachineError, first_line
from blissmask.storage import atomic, held_folders
from blissmask.storage.content import file_sha256
from blissmask.storage.ordinary import read_text

_MANIFEST = "manifest.json"
_STATE = "state.json"
_NAME = re.compile(r".*-step(\d{8,})-state", re.DOTALL)
_PART = ".blissmask-state-part"
_REPLACING = ".blissmask-replaces"
"""End of the name of the hidden file that names the first state of a run that started anew."""
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL)
"""Errors of the system that say that something else stands where a file was; a pipe is EINVAL (``storage.ordinary``).
After any other the state may be whole."""


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
            MachineError: its folder cannot be looked at.
        """
        try:
            fault = _fault(self.path, by_size=True)
        except OSError as error:
            raise _states_unreadable(error, self.path) from error
        if fault:
            what = f"the training state changed since the run was planned: {fault}"
            raise CacheError(
                what, where=[self.path], fix="run the same command again: it looks for the newest whole state"
            )
        return {file.stem: read_tensors(file) for file in sorted(self.path.glob("*.safetensors"))}


@dataclass(frozen=True, slots=True)
class FoundStates:
    """The states of one output name.

    Attributes:
        newest: the whole state of the most steps; None where there is none.
        whole: (steps, folder) of every whole state, by steps.
        damaged: folders of states that are not as they were written -> what is wrong with each.
    """

    newest: Path | None
    whole: tuple[tuple[int, Path], ...]
    damaged: Mapping[Path, str]


def state_path(folder: Path, name: str, step: int) -> Path:
    """Return the folder of a state; musubi-tuner names its states the same way."""
    return folder / f"{name}-step{step:08d}-state"


def state_folders(folder: Path, name: str) -> list[Path]:
    """Return the folders with the name of a state of output ``name``, whole or not, by steps.

    Raises MachineError when the output folder cannot be listed.
    """
    try:
        return list(_steps(folder, name))
    except OSError as error:
        raise _states_unreadable(error, folder) from error


def find_states(folder: Path, name: str) -> FoundStates:
    """Find the training states of output ``name``.

    A state is whole when all of its files, and no others, have the size and hash with which they were written.

    Args:
        folder: output folder.
        name: of the output.

    Raises:
        MachineError: a drive fails, or the rights forbid to look. That is not taken for damage, which would let the
            training begin anew.
    """
    try:
        steps = _steps(folder, name)
        first = _replacing(folder, name)
        if first is not None and not _fault(first):
            # A run that started anew was killed before it had removed the states that it replaces.
            steps = {first: steps[first]}
        faults = {path: _fault(path) for path in steps}
    except OSError as error:
        raise _states_unreadable(error, folder) from error
    whole = tuple(sorted((steps[path], path) for path, fault in faults.items() if not fault))
    damaged = {path: fault for path, fault in faults.items() if fault}
    return FoundStates(newest=whole[-1][1] if whole else None, whole=whole, damaged=damaged)


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
    part = _hidden(target)
    held_folders.check(target)
    try:
        _remove_parts(folder, name)
        atomic.sweep(folder)
        _finish_replacing(folder, name)
        _write_files(part, state)
        _remove(target)
        replaces = anew and bool(_steps(folder, name))
        if replaces:
            atomic.write_text(_marker(folder, name), target.name)
        part.rename(target)
        atomic.sync(folder)
        if replaces:
            remove_states(folder, name, but=target)
        if keep_last is not None:
            _remove_old(folder, name, keep_last)
    except OSError as error:
        _remove_if_possible(part)
        raise MachineError(
            f"cannot save the training state: {error.strerror or error}",
            where=[target],
            fix="free some space, then run again",
        ) from error
    except BaseException:
        _remove_if_possible(part)
        raise
    return target


def _write_files(folder: Path, state: TrainingState) -> None:
    """Write the files of a state into ``folder``, the manifest last."""
    folder.mkdir(parents=True)
    # An optimiser without memory, such as plain SGD, has no tensors and gets no file.
    files = {f"{name}.safetensors": dict(tensors) for name, tensors in state.tensors.items() if tensors}
    for file_name, tensors in files.items():
        write.save_tensors(folder / file_name, tensors, {})
    atomic.write_text(folder / _STATE, json.dumps({"step": state.step, **state.numbers}, indent=1, sort_keys=True))
    # The manifest lists the names that were written, not the names that are there: a file that someone removed in the
    # meantime must make the state damaged.
    manifest = _describe(folder, [*files, _STATE])
    atomic.write_text(folder / _MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))


def load_state(path: Path) -> SavedState:
    """Read the numbers of a state that :func:`find_states` found whole.

    Raises CacheError when they cannot be read, or are not those of a state.
    """
    file = path / _STATE
    try:
        numbers = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise _unreadable(file, f"cannot be read: {why}") from error
    if not isinstance(numbers, dict):
        raise _unreadable(file, "is no table")
    settings = numbers.setdefault("settings", {})
    arguments = settings.get("optimizer_args", []) if isinstance(settings, dict) else None
    if not isinstance(arguments, list) or not all(isinstance(argument, str) for argument in arguments):
        raise _unreadable(file, "holds settings of another kind")
    match = _NAME.fullmatch(path.name)
    step = numbers.get("step")
    if not is_whole_number(step) or (match and step != int(match[1])):
        raise _unreadable(file, f"says that it is of step {str(step)[:20]}, and its folder is of another")
    return SavedState(path, step, numbers)


def is_whole_number(value: object, *, most: int = 10**12) -> TypeGuard[int]:
    """Return whether a value from a file is a whole number from 0 to ``most``, by default more than any run counts."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _unreadable(file: Path, what: str) -> CacheError:
    fix = "remove the folder to continue from an older state"
    return CacheError(f"the training state {what}", where=[file], fix=fix)


def remove_states(folder: Path, name: str, *, but: Path | None = None) -> None:
    """Remove every state of output ``name`` except ``but``, and what killed saves left behind."""
    for path in _steps(folder, name):
        if path != but:
            _remove(path)
    _remove_parts(folder, name)
    _marker(folder, name).unlink(missing_ok=True)


def restore_parameters(named: Sequence[tuple[str, Tensor]], tensors: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into the parameters, or averages of parameters, of the same names.

    Raises CacheError when names or shapes differ.
    """
    names = [name for name, _ in named]
    if sorted(names) != sorted(tensors):
        missing = sorted(set(names) ^ set(tensors))
        raise CacheError(
            f"the training state is of another LoRA: `{missing[0]}` is only on one side",
            fix="use `--no-resume`, or another `output_name`",
        )
    with torch.no_grad():
        for name, parameter in named:
            if parameter.shape != tensors[name].shape:
                raise CacheError(
                    f"the training state has another size for `{name}`",
                    fix="use `--no-resume`, or another `output_name`",
                )
            if not tensors[name].is_floating_point() or not bool(tensors[name].float().isfinite().all()):
                raise CacheError(
                    f"the training state holds no numbers, or NaN or infinity, for `{name}`",
                    fix="remove it to continue from an older one",
                )
            parameter.copy_(tensors[name])


def _steps(folder: Path, name: str) -> dict[Path, int]:
    """Return the folders with the name of a state of output ``name``, whole or not, and their steps, by steps."""
    pattern = re.compile(re.escape(name) + r"-step(\d{8})-state")
    try:
        # `Path.glob` finds nothing where a folder may not be listed.
        names = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {folder / match[0]: int(match[1]) for match in map(pattern.fullmatch, names) if match}


def _remove_parts(folder: Path, name: str) -> None:
    """Remove what killed saves left. Nothing else does: a run that saves at other steps writes other names.

    One that may not be removed costs room, and must not cost the state that is saved now.
    """
    for part in folder.glob(f".{_escaped(name)}-step*{_PART}"):
        _remove_if_possible(part)


def _marker(folder: Path, name: str) -> Path:
    """Return the hidden file that exists while a run that started anew replaces the states of an earlier one."""
    return folder / f".{name}{_REPLACING}"


def _replacing(folder: Path, name: str) -> Path | None:
    """Return the first state of a run that began to replace an earlier run's states; None when none is under way."""
    marker = _marker(folder, name)
    if not marker.is_file():
        return None
    # Names are written as the file system spells them, which need not be UTF-8.
    named = read_text(marker, errors="surrogateescape")
    return next((path for path in _steps(folder, name) if path.name == named), None)


def _finish_replacing(folder: Path, name: str) -> None:
    """Remove the states that a killed run had begun to replace, if its own first state is whole."""
    first = _replacing(folder, name)
    if first is not None and not _fault(first):
        remove_states(folder, name, but=first)
    _marker(folder, name).unlink(missing_ok=True)


def _describe(folder: Path, names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Return size and hash of each file, as the manifest holds them."""
    return {
        name: {"size": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)} for name in sorted(names)
    }


def _fault(state: Path, *, by_size: bool = False) -> str:
    """Return what is wrong with a state; an empty text where it is as it was written.

    Args:
        state: its folder.
        by_size: compare sizes alone and compute no hash: quick, and enough for choosing which old states to remove.

    Raises:
        OSError: a file cannot be read, though it may be there; names it.
    """
    file = state
    try:
        present = {path.name for path in state.iterdir()} - {_MANIFEST}
        file = state / _MANIFEST
        manifest = json.loads(read_text(file))
        for name in sorted({*manifest, *present}):
            if name not in present:
                return f"`{name}` is missing"
            if name not in manifest:
                return f"`{name}` does not belong to it"
            file = state / name
            size, written = file.stat().st_size, manifest[name]["size"]
            if size != written:
                return f"`{name}` has {size} bytes, and was written with {written}"
            if not by_size and manifest[name]["sha256"] != file_sha256(file):
                return f"`{name}` has other bytes than were written"
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise OSError(error.errno, error.strerror, str(file)) from error
        return f"`{file.name}` cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"`{_MANIFEST}` is no list of its files"
    return ""


def _states_unreadable(error: OSError, folder: Path) -> MachineError:
    """Return the error for training states that cannot be looked at."""
    return MachineError(
        f"the training states cannot be read: {error.strerror or error}",
        where=[error.filename or folder],
        fix="see to the drive, or to the rights of the file; to go on without a state, move its folder away",
    )


def _remove_old(folder: Path, name: str, keep_last: int) -> None:
    """Remove whole states but the newest ``keep_last``."""
    whole = []
    for path in _steps(folder, name):
        # One that cannot be looked at stays; that must not cost the state that was just saved.
        with contextlib.suppress(OSError):
            if not _fault(path, by_size=True):
                whole.append(path)
    for old in whole[:-keep_last]:
        _remove(old)


def _remove(path: Path) -> None:
    """Remove a state, if ``path`` is one.

    It is renamed to a hidden name first: a kill while its files are removed must not leave half a state, which would be
    reported as damaged.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path if path.name.endswith(_PART) else path.rename(_hidden(path)))


def _remove_if_possible(path: Path) -> None:
    """Remove what a save began, unless the drive is gone or forbids it."""
    place, folder = held_folders.anchored(path)
    with contextlib.suppress(OSError):
        shutil.rmtree(place, dir_fd=folder)


def _hidden(path: Path) -> Path:
    """Return a hidden name of its own for a state that is being written or removed."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{_PART}")


def _escaped(name: str) -> str:
    """Return ``name`` with the special characters of glob patterns quoted."""
    return re.sub(r"([*?\[])", r"[\1]", name)
