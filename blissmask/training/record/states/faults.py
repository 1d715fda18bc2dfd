"""What is wrong with a training state: its files against the manifest that was written last."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from blissmask.errors import MachineError
from blissmask.storage.content import file_sha256
from blissmask.storage.ordinary import is_no_file, read_text
from blissmask.training.record.states.folders import FILES, STATE

MANIFEST = "manifest.json"
_LEFT_BY_SYSTEMS = ("thumbs.db", "desktop.ini")
"""What Windows puts into a folder that somebody looks at; macOS puts hidden files there."""


def describe(folder: Path, names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Return size and hash of each file, as the manifest holds them."""
    return {
        name: {"size": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)} for name in sorted(names)
    }


def fault_of(state: Path, *, by_size: bool = False) -> str:
    """Return what is wrong with a state; an empty text where it is as it was written.

    Args:
        state: its folder.
        by_size: compare sizes alone and compute no hash: quick, and enough for choosing which old states to remove.

    Raises:
        OSError: a file cannot be read, though it may be there; names it.
    """
    file = state
    try:
        present = {path.name for path in state.iterdir() if not _is_left_by_system(path.name)} - {MANIFEST}
        file = state / MANIFEST
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
        file = state / STATE
        lacking = [] if by_size else sorted(_named_files(file) - present)
        if lacking:
            # Somebody removed it together with its line of the manifest. An optimiser without its file would begin
            # with fresh moments, since one without memory, such as plain SGD, never has a file.
            return f"`{lacking[0]}` is missing"
    except OSError as error:
        if not is_no_file(error):
            raise OSError(error.errno, error.strerror, str(file)) from error
        return f"`{file.name}` cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"`{MANIFEST}` is no list of its files"
    return ""


def _is_left_by_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def _named_files(file: Path) -> set[str]:
    """Return the names of the files of tensors that the numbers of a state say belong to it.

    None for numbers that are not those of a state: ``load_state`` says what is wrong with them.
    """
    try:
        numbers = json.loads(read_text(file))
    except (ValueError, RecursionError):
        return set()
    named = numbers.get(FILES) if isinstance(numbers, dict) else None
    return set(filter(lambda name: isinstance(name, str), named)) if isinstance(named, list) else set()


def states_unreadable(error: OSError, folder: Path) -> MachineError:
    """Return the error for training states that cannot be looked at."""
    return MachineError(
        f"the training states cannot be read: {error.strerror or error}",
        where=[error.filename or folder],
        fix="see to the drive, or to the rights of the file; to go on without a state, move its folder away",
    )
