"""The folders that this process writes to: whether each of them is still the folder that the run began with.

Without this a folder that was removed, moved away, or whose drive was unplugged would be made anew by the next file
that is published, and a run would report as written what is gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from blissmask.errors import MachineError
from blissmask.storage.content import without_links


@dataclass(frozen=True, slots=True)
class _Held:
    """A folder under watch.

    Attributes:
        descriptor: a descriptor of it: a folder that is open keeps its inode number to itself, on every file system.
        names: absolute paths by which it is written to; a link in them may be made to lead elsewhere meanwhile.
    """

    descriptor: int
    names: frozenset[Path]


_held: dict[Path, _Held] = {}
"""By the folder's own path, without links."""


@contextlib.contextmanager
def holding(*names: Path) -> Iterator[None]:
    """Keep a folder under watch.

    Args:
        names: paths that all lead to it now.

    Raises:
        MachineError: at the end, when it is gone or another one has its name: what was written is not there.
        OSError: it cannot be opened.
    """
    place = without_links(names[0])
    if place in _held:
        yield
        return
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    # One with `..` behind a link leads elsewhere when it is folded as it is spelt.
    spelt = {name for name in map(_absolute, names) if without_links(name) == place}
    _held[place] = _Held(descriptor, frozenset({place, *spelt}))
    try:
        yield
        _refuse_other(_held[place])
    finally:
        os.close(_held.pop(place).descriptor)


def check(path: Path) -> None:
    """Check that the held folder that ``path`` lies in, if any, is still there.

    Raises:
        MachineError: it is gone, or another folder has its name.
    """
    if not _held:
        return
    # As it is spelt, too: where the folder was replaced by a link, following that would lead out of it.
    folders = {folder for parent in (without_links(path.parent), _absolute(path.parent)) for folder in _upwards(parent)}
    for held in tuple(_held.values()):
        if not held.names.isdisjoint(folders):
            _refuse_other(held)


def anchored(path: Path) -> tuple[Path, int | None]:
    """Return how to reach a path in a held folder wherever that was moved to meanwhile, for removing what is half-made.

    Returns:
        The path from the held folder, and the folder's descriptor, which functions of ``os`` take as ``dir_fd``; the
        path itself and None where it lies in no held folder.
    """
    for held in _held.values():
        for parent in (without_links(path.parent), _absolute(path.parent)):
            for name in held.names & set(_upwards(parent)):
                return parent.relative_to(name) / path.name, held.descriptor
    return path, None


def is_there(folder: Path) -> bool:
    """Return whether a held folder is still the one that the run began with."""
    try:
        _refuse_other(_held[_place_of(folder)])
    except MachineError:
        return False
    return True


def accept_anew(folder: Path) -> None:
    """Take the folder that has the name of a held one now, when somebody made it again, as the one to write to.

    Raises:
        OSError: there is none.
    """
    place = _place_of(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    os.close(_held[place].descriptor)
    _held[place] = replace(_held[place], descriptor=descriptor)


def _place_of(folder: Path) -> Path:
    """Return the path under which a folder is held, whatever its name leads to by now."""
    name = _absolute(folder)
    return next((place for place, held in _held.items() if name in held.names), without_links(folder))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (`Path.absolute` keeps `..`)


def _upwards(folder: Path) -> tuple[Path, ...]:
    return (folder, *folder.parents)


def _refuse_other(held: _Held) -> None:
    was = os.fstat(held.descriptor)
    for name in held.names:
        try:
            now = name.stat()
        except OSError as error:
            raise MachineError(
                f"the output folder is gone: {error.strerror or error}",
                where=[name],
                fix="bring it back, or the drive it is on, and run the same command again",
            ) from error
        if (was.st_dev, was.st_ino) != (now.st_dev, now.st_ino):
            raise MachineError(
                "the output folder was replaced by another one while the command ran",
                where=[name],
                fix="see where it went; the same command again writes what is missing here",
            )
