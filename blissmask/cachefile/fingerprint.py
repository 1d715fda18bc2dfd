"""What makes a cache entry stale: fingerprints of the files it was made from, compared cheaply.

A fingerprint is one text, ``SIZE:MTIME_NS:HASH`` per file with spaces between. Size and modification time are compared first; only where
the time moved and the size did not, the content decides. So an untouched data set costs one ``stat`` per file, a copied one is read once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path

from blissmask.errors import InputError
from blissmask.storage.content import content_hash


class Sameness(IntEnum):
    """How files compare with a fingerprint."""

    SAME = 0
    """Untouched since."""
    MOVED = 1
    """The same content with another modification time: fresh, but the fingerprint should be renewed."""
    CHANGED = 2


def take(paths: Iterable[Path]) -> str:
    """Return the fingerprint of ``paths`` in their order; a folder counts as its files, sorted by name. Empty for no files.

    Raises:
        InputError: a file cannot be read.
    """
    # The state before the content: a file that changes in between looks changed next time, not fresh.
    return " ".join(f"{state.st_size}:{state.st_mtime_ns}:{content_hash(path)}" for path, state in _files(paths))


def compare(fingerprint: str, paths: Iterable[Path], *, by_content: bool = False) -> Sameness:
    """Say whether ``paths`` are still what ``fingerprint`` was taken of.

    Args:
        fingerprint: as :func:`take` returned it.
        paths: the files now.
        by_content: read every file, even where size and time have not moved.

    Raises:
        InputError: a file cannot be read.
    """
    recorded, files = fingerprint.split(), _files(paths)
    if len(recorded) != len(files):
        return Sameness.CHANGED
    compared = (_compare_one(text, path, state, by_content=by_content) for text, (path, state) in zip(recorded, files, strict=True))
    return max(compared, default=Sameness.SAME)


def _files(paths: Iterable[Path]) -> list[tuple[Path, os.stat_result]]:
    """Return the files of ``paths`` with their states; a folder gives its own files, sorted by name, without hidden ones."""
    files: list[tuple[Path, os.stat_result]] = []
    for path in paths:
        state = _stat(path)
        if not stat.S_ISDIR(state.st_mode):
            files.append((path, state))
            continue
        inside = ((child, _stat(child)) for child in sorted(path.iterdir()) if not child.name.startswith("."))
        files += [(child, state) for child, state in inside if stat.S_ISREG(state.st_mode)]
    return files


def _compare_one(recorded: str, path: Path, state: os.stat_result, *, by_content: bool) -> Sameness:
    size, _, rest = recorded.partition(":")
    modified, _, digest = rest.partition(":")
    if str(state.st_size) != size:
        return Sameness.CHANGED
    untouched = str(state.st_mtime_ns) == modified
    if untouched and not by_content:
        return Sameness.SAME
    if content_hash(path) != digest:
        return Sameness.CHANGED
    return Sameness.SAME if untouched else Sameness.MOVED


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error
