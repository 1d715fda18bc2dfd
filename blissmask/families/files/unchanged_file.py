"""Read pieces of a large file by their place, as long as it stays the file whose table of contents was read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from blissmask.errors import MachineError, ModelError
from blissmask.storage.ordinary import refuse_special


@dataclass(frozen=True, slots=True)
class UnchangedFile:
    """A file as it was when its table of contents was read.

    Attributes:
        path: the file.
        size: bytes.
        modified_ns: when it was last changed, as the file system tells it, nanoseconds.
    """

    path: Path
    size: int
    modified_ns: int

    def read_into(self, start: int, target: memoryview) -> None:
        """Read as many bytes from ``start`` on as ``target`` holds.

        Raises:
            ModelError: the file was changed, or ends before.
            MachineError: the drive fails to read them.
        """
        try:
            with FileIO(self.path) as file:
                status = os.fstat(file.fileno())
                if (status.st_size, status.st_mtime_ns) != (self.size, self.modified_ns):
                    fix = "run the command again when the file is whole"
                    raise ModelError("the model file was changed while it was read", where=[self.path], fix=fix)
                file.seek(start)
                is_full = _fill(file, target)
        except OSError as error:
            raise MachineError(f"the model file cannot be read: {error.strerror}", where=[self.path]) from error
        if not is_full:
            raise ModelError("the model file ends too early", where=[self.path], fix="download or copy it again")


def unchanged_file(path: Path) -> UnchangedFile:
    """Return a file as it is now. Raises MachineError when it is not there."""
    try:
        refuse_special(path)
        status = path.stat()
    except OSError as error:
        raise MachineError(f"the model file cannot be read: {error.strerror}", where=[path]) from error
    return UnchangedFile(path, status.st_size, status.st_mtime_ns)


def _fill(file: FileIO, target: memoryview) -> bool:
    """Read until ``target`` is full, and return whether it is; one read gives 2 GB at most on Linux."""
    done = 0
    while done < len(target):
        count = file.readinto(target[done:])
        if not count:
            return False
        done += count
    return True
