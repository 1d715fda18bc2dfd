"""A path in a quarter of the memory, for plans that name millions of files.

A ``Path`` holds its parts in a list of its own and its text beside it, about 400 bytes. Here all files of a folder
share the folder's text, and files of one name, such as a photo and its mask, share the name's.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ShortPath:
    """A path as folder and name.

    Attributes:
        folder: text of the folder; empty for a bare name.
        name: the last part.
    """

    folder: str
    name: str

    @classmethod
    def of(cls, path: Path) -> ShortPath:
        """Return ``path`` in short."""
        folder, name = os.path.split(path)
        return cls(sys.intern(folder), sys.intern(name))

    @property
    def path(self) -> Path:
        """Return the path, equal to the one that this was made of."""
        return Path(self.folder, self.name)


def shortened(path: Path | None) -> ShortPath | None:
    """Return ``path`` in short; None stays None."""
    return None if path is None else ShortPath.of(path)


def full(short: ShortPath | None) -> Path | None:
    """Return the path; None stays None."""
    return None if short is None else short.path
