"""The boxes of an AVIF file (source: ISO 14496-12): what it says of its colours, which Pillow leaves out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

_MOST_BYTES = 1 << 20
"""Of the boxes that describe the pictures: a hostile file may claim any length. Those of a photo have 300."""
_PATH = (b"iprp", b"ipco")
"""Boxes within ``meta``, each in the one before, in which the properties of pictures are."""


def coded_colours(file: BinaryIO) -> tuple[int, int] | None:
    """Return the numbers of the primaries and of the curve of an open AVIF file; None where it names none.

    They are those of the first ``colr`` box that holds numbers (source: ISO 14496-12, 12.1.5; ISO 23008-12, 6.5.5).
    """
    content = _meta(file)
    for kind in _PATH:
        content = next((inside for name, inside in _inside(content) if name == kind), b"")
    for name, inside in _inside(content):
        if name == b"colr" and inside[:4] == b"nclx" and len(inside) >= 8:
            primaries, curve = struct.unpack_from(">HH", inside, 4)
            return primaries, curve
    return None


def _meta(file: BinaryIO) -> bytes:
    """Return what the file's ``meta`` box holds behind its version; empty where there is none, or it is too long."""
    position = 0
    while True:
        file.seek(position)
        start = file.read(16)
        if len(start) < 8:
            return b""
        length, kind = struct.unpack_from(">I4s", start)
        header = 8
        if length == 1 and len(start) == 16:
            length, header = int.from_bytes(start[8:]), 16
        if kind == b"meta":
            file.seek(position + header + 4)
            return file.read(length - header - 4) if header + 4 <= length <= _MOST_BYTES else b""
        if length < header:
            # Of length 0, the last box, which reaches to the end; or damaged.
            return b""
        position += length


def _inside(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kinds and contents of boxes, up to where they are cut off."""
    position = 0
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if length < 8:
            return
        yield kind, content[position + 8 : position + length]
        position += length
