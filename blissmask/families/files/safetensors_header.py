"""Read the header of a safetensors file, and single tensors by their place in it. The file is never mapped.

safetensors' own reader maps the whole file copy-on-write, which Linux counts as memory that may be needed: it refuses
files larger than memory and swap together, even to read the shapes. The format is in the safetensors repository: eight
bytes of length (little endian), a JSON table, then the numbers of all tensors one after another.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blissmask.errors import MachineError, ModelError
from blissmask.families.files.unchanged_file import UnchangedFile, unchanged_file
from blissmask.storage.ordinary import open_ordinary

# The library's own limit.
_MAX_HEADER = 100_000_000
_METADATA = "__metadata__"
_COPY_AGAIN = "download or copy it again"


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One tensor of a file.

    Attributes:
        dtype: as the format spells it, e.g. ``BF16``.
        shape: sizes of its axes.
        start, size: of its numbers in the file, bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What the header of a file says.

    Attributes:
        file: the file, as it was then.
        entries: name -> tensor.
        metadata: strings of whoever wrote the file.
    """

    file: UnchangedFile
    entries: dict[str, StoredEntry]
    metadata: dict[str, str]

    def read_into(self, entry: StoredEntry, target: memoryview) -> None:
        """Read the numbers of ``entry`` into ``target``, as many bytes. Raises as ``UnchangedFile.read_into``."""
        self.file.read_into(entry.start, target)


def read_header(path: Path) -> SafetensorsHeader:
    """Return the header of a safetensors file.

    Raises:
        ModelError: the file is damaged: cut off, or its table does not fit its length.
        MachineError: the drive does not give it.
    """
    file = unchanged_file(path)
    length = int.from_bytes(_read(file, 0, 8), "little")
    if not 2 <= length <= min(_MAX_HEADER, file.size - 8):
        raise _damaged(path, f"its header would have {length} bytes")
    table = _parsed(_read(file, 8, length), path)
    metadata = table.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _damaged(path, "its metadata are no strings")
    data = 8 + length
    entries = {name: _entry(name, row, data, path) for name, row in table.items()}
    _check_places(entries, data, file.size, path)
    return SafetensorsHeader(file, entries, metadata)


def is_safetensors(head: bytes) -> bool:
    """Return whether the first 16 bytes of a file are those of a safetensors file."""
    return head[8:9] == b"{"


def begins_as_safetensors(path: Path) -> bool:
    """Return whether a file begins as a safetensors file does. Raises MachineError when it cannot be read."""
    try:
        with open_ordinary(path) as file:
            return is_safetensors(file.read(16))
    except OSError as error:
        raise MachineError(f"the model file cannot be read: {error.strerror}", where=[path]) from error


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is no JSON") from error
    if not isinstance(table, dict):
        raise _damaged(path, "its header is no table")
    return table


def _entry(name: str, row: Any, data: int, path: Path) -> StoredEntry:
    match row:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop]}:
            # A bool is an int in Python, and no number of a header.
            if all(type(number) is int and number >= 0 for number in (*shape, start, stop)) and start <= stop:
                return StoredEntry(dtype, tuple(shape), data + start, stop - start)
    raise _damaged(path, f"`{name[:200]}` has no dtype, shape and place")


def _check_places(entries: dict[str, StoredEntry], data: int, file_size: int, path: Path) -> None:
    """Refuse tensors that overlap, leave holes, end behind the file, or have more numbers than bytes."""
    end = data
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].size)):
        # The smallest dtype of the format has four bits, the largest 16 bytes.
        numbers = math.prod(entry.shape)
        if entry.start != end or not numbers <= 2 * entry.size or entry.size > 16 * numbers:
            raise _damaged(path, f"`{name[:200]}` is not where its header says")
        end += entry.size
    if end != file_size:
        raise _damaged(path, f"it has {file_size} bytes, its header tells of {end}")


def _read(file: UnchangedFile, start: int, size: int) -> bytes:
    content = bytearray(size)
    file.read_into(start, memoryview(content))
    return bytes(content)


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"a damaged safetensors file: {why}", where=[path], fix=_COPY_AGAIN)
