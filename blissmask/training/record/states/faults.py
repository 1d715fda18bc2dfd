"""What is wrong with a training state: its files against the manifest that was written last."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from pathlib import Path

from blissmask.errors import MachineError
from blissmask.storage.content import file_sha256
from blissmask.storage.ordinary import read_text

MANIFEST = "manifest.json"
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL)
"""Errors of the system that say that something else stands where a file was; a pipe is EINVAL (``storage.ordinary``).
After any other the state may be whole."""


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
        present = {path.name for path in state.iterdir()} - {MANIFEST}
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
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise OSError(error.errno, error.strerror, str(file)) from error
        return f"`{file.name}` cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"`{MANIFEST}` is no list of its files"
    return ""


def states_unreadable(error: OSError, folder: Path) -> MachineError:
    """Return the error for training states that cannot be looked at."""
    return MachineError(
        f"the training states cannot be read: {error.strerror or error}",
        where=[error.filename or folder],
        fix="see to the drive, or to the rights of the file; to go on without a state, move its folder away",
    )
