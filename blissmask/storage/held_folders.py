"""The folders that this process writes to: whether each of them is still the folder that the run began with.

Without this a folder that was removed, moved away, or whose drive was unplugged would be made anew by the next file
that is published, and a run would report as written what is gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from blissmask.errors import MachineError
from blissmask.storage.content import without_links

_held: dict[Path, int] = {}
"""Folder -> a descriptor of it: a folder that is open keeps its inode number to itself, on every file system."""


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep a folder under watch.

    Raises:
        MachineError: at the end, when it is gone or another one has its name: what was written is not there.
        OSError: it cannot be opened.
    """
    place = without_links(folder)
    if place in _held:
        yield
        return
    _held[place] = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
        check(place / "any")
    finally:
        os.close(_held.pop(place))


def check(path: Path) -> None:
    """Check that the held folder that ``path`` lies in, if any, is still there.

    Raises:
        MachineError: it is gone, or another folder has its name.
    """
    if not _held:
        return
    parent = without_links(path.parent)
    for folder in tuple(_held):
        if folder == parent or folder in parent.parents:
            _refuse_other(folder)


def is_there(folder: Path) -> bool:
    """Return whether a held folder is still the one that the run began with."""
    try:
        _refuse_other(without_links(folder))
    except MachineError:
        return False
    return True


def accept_anew(folder: Path) -> None:
    """Take the folder that has the name of a held one now, when somebody made it again, as the one to write to.

    Raises:
        OSError: there is none.
    """
    place = without_links(folder)
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    os.close(_held[place])
    _held[place] = descriptor


def _refuse_other(folder: Path) -> None:
    was = os.fstat(_held[folder])
    try:
        now = folder.stat()
    except OSError as error:
        raise MachineError(
            f"the output folder is gone: {error.strerror or error}",
            where=[folder],
            fix="bring it back, or the drive it is on, and run the same command again",
        ) from error
    if (was.st_dev, was.st_ino) != (now.st_dev, now.st_ino):
        raise MachineError(
            "the output folder was replaced by another one while the command ran",
            where=[folder],
            fix="see where it went; the same command again writes what is missing here",
        )
