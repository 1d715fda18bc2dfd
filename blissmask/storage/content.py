"""What a file holds, as a short text: the one hash by which outputs remember their inputs."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from blissmask.errors import MediaError

_DIGEST_BYTES = 16


def content_hash(path: Path) -> str:
    """Return a 128-bit BLAKE2 hash of a file's bytes, in hex.

    A file is read once per process: a film is asked for by each of its clips, a photo by each data set that holds it.
    One that changed is read again.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        state = path.stat()
        # The time of the last change of the state, which nobody can set back, tells a file that was rewritten with its
        # old times.
        return _hash(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error


@functools.cache
def _hash(path: Path, *state: int) -> str:
    del state  # part of the key
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)).hexdigest()
