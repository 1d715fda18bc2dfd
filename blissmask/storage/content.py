"""What a file holds, as a short text: the one hash by which outputs remember their inputs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from blissmask.errors import MediaError

_DIGEST_BYTES = 16


def content_hash(path: Path) -> str:
    """Return a 128-bit BLAKE2 hash of a file's bytes, in hex.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)).hexdigest()
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error
