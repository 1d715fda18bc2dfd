"""Removing training states, and replacing those of an earlier run so that a kill leaves no doubt which ones count."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from blissmask.storage import held_folders
from blissmask.storage.ordinary import read_text
from blissmask.training.record.states.faults import fault_of
from blissmask.training.record.states.folders import PART, hidden_name, state_steps

_REPLACING = ".blissmask-replaces"
"""End of the name of the hidden file that names the first state of a run that started anew."""


def first_of_replacing(folder: Path, name: str) -> Path | None:
    """Return the first state of a run that began to replace an earlier run's states; None when none is under way."""
    marker = marker_file(folder, name)
    if not marker.is_file():
        return None
    # Names are written as the file system spells them, which need not be UTF-8.
    named = read_text(marker, errors="surrogateescape")
    return next((path for path in state_steps(folder, name) if path.name == named), None)


def finish_replacing(folder: Path, name: str) -> None:
    """Remove the states that a killed run had begun to replace, if its own first state is whole."""
    first = first_of_replacing(folder, name)
    if first is not None and not fault_of(first):
        remove_states(folder, name, but=first)
    marker_file(folder, name).unlink(missing_ok=True)


def remove_states(folder: Path, name: str, *, but: Path | None = None) -> None:
    """Remove every state of output ``name`` except ``but``, and what killed saves left behind."""
    for path in state_steps(folder, name):
        if path != but:
            remove_state(path)
    remove_parts(folder, name)
    marker_file(folder, name).unlink(missing_ok=True)


def remove_old(folder: Path, name: str, keep_last: int) -> None:
    """Remove whole states but the newest ``keep_last``."""
    whole = []
    for path in state_steps(folder, name):
        # One that cannot be looked at stays; that must not cost the state that was just saved.
        with contextlib.suppress(OSError):
            if not fault_of(path, by_size=True):
                whole.append(path)
    for old in whole[:-keep_last]:
        remove_state(old)


def remove_state(path: Path) -> None:
    """Remove a state, if ``path`` is one.

    It is renamed to a hidden name first: a kill while its files are removed must not leave half a state, which would be
    reported as damaged.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path if path.name.endswith(PART) else path.rename(hidden_name(path)))


def remove_parts(folder: Path, name: str) -> None:
    """Remove what killed saves left. Nothing else does: a run that saves at other steps writes other names.

    One that may not be removed costs room, and must not cost the state that is saved now.
    """
    for part in folder.glob(f".{_escaped(name)}-step*{PART}"):
        remove_if_possible(part)


def remove_if_possible(path: Path) -> None:
    """Remove what a save began, unless the drive is gone or forbids it."""
    place, folder = held_folders.anchored(path)
    with contextlib.suppress(OSError):
        shutil.rmtree(place, dir_fd=folder)


def marker_file(folder: Path, name: str) -> Path:
    """Return the hidden file that exists while a run that started anew replaces the states of an earlier one."""
    return folder / f".{name}{_REPLACING}"


def _escaped(name: str) -> str:
    """Return ``name`` with the special characters of glob patterns quoted."""
    return re.sub(r"([*?\[])", r"[\1]", name)
