"""Sizes up to which files are read whole; a larger one is refused by name before it takes memory or minutes."""

from __future__ import annotations

import errno
from pathlib import Path

from blissmask.storage.ordinary import refuse_all_but_files

MB = 1_000_000
MOST_CAPTION = MB
"""Bytes of a caption; no text encoder reads more than some thousand words."""
MOST_LINE = MB
"""Characters of a line of a list, caption included."""
MOST_MASK = 400 * MB
"""Bytes of a mask that is shown to be retouched: more than 179 million pixels of 16 bits that nothing compresses."""
MOST_CONFIG = MB
"""Bytes of a configuration or a file of prompts: about ten thousand data sets."""
MOST_KEYS = 10_000
"""Keys of a configuration, with those of all its tables."""


def refuse_larger(path: Path, most: int) -> None:
    """Refuse a file of more than ``most`` bytes.

    Raises:
        OSError: it is larger, or no ordinary file, as ``strerror`` says, or missing.
    """
    refuse_all_but_files(path)
    if path.stat().st_size > most:
        raise OSError(errno.EFBIG, f"it is larger than the {most / MB:g} MB that are read", str(path))
