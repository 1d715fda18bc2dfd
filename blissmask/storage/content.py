"""Tell whether two files are the same, and whether two paths lead to the same place."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from blissmask.errors import MediaError
from blissmask.storage.ordinary import open_ordinary

_DIGEST_BYTES = 16
"""128 bits: a collision of two files by chance cannot happen, and the hash stays short in metadata."""


def content_hash(path: Path) -> str:
    """Return a 128-bit BLAKE2 hash of a file's bytes, in hex; outputs remember their inputs by it.

    A file is read once per process: each clip asks for its video, and each data set asks for the photos it holds. A
    file that changed since is read again.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        state = path.stat()
        # The time of the last change of the state (ctime) is part of the key because nobody can set it back: it also
        # moves when a file is rewritten and gets its old modification time.
        return _hash(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex; the form in which model files and training states are identified.

    Raises:
        OSError: the file cannot be read.
    """
    with open_ordinary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_links(path: Path) -> Path:
    """Return the absolute path that ``path`` leads to, for comparing places.

    Links that lead in a circle come back as they are; opening them raises. ``Path.resolve`` raises here already, before
    Python 3.13.
    """
    return Path(os.path.realpath(path))


def shared_places(paths: Sequence[Path]) -> dict[Path, list[int]]:
    """Return the places that more than one of ``paths`` leads to, each with the positions of these paths."""
    positions: dict[Path, list[int]] = {}
    for position, path in enumerate(paths):
        positions.setdefault(without_links(path), []).append(position)
    return {place: found for place, found in positions.items() if len(found) > 1}


@functools.cache
def _hash(path: Path, *state: int) -> str:
    del state  # part of the key
    with open_ordinary(path) as file:
        return hashlib.file_digest(file, _blake2).hexdigest()


def _blake2() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)
