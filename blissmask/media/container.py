"""Whether a video file is as long as its container says: what a broken download, a full disk or a camera without battery leaves is not.

Only the sizes that MP4 and MOV, Matroska and WebM, and AVI state about themselves are read, a few bytes each. Other
containers state none.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_SLACK = 16
"""Writers of AVI forget the 8 bytes of the first header, or a byte of padding; so little never holds a frame."""
_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot")
_FILLED = (b"moov", b"moof", b"mdat")
"""Boxes of MP4 that a video needs; whatever else claims to be longer than the file may be rubbish that stands behind it."""
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_UNKNOWN_RIFF = (0, 0xFFFFFFFF)


def missing_bytes(path: Path) -> int:
    """Return how many bytes of a video file are not there by its own account; 0 when it is whole, or does not say.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[4:8] in _BOXES:
            end = _end_of_boxes(file, size)
        elif start[:4] == _EBML:
            end = _end_of_segment(file)
        elif start[:4] == b"RIFF" and start[8:] == b"AVI ":
            end = _end_of_riff(file, size)
        else:
            end = 0
    missing = end - size
    return missing if missing > _SLACK else 0


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Return where the box ends that reaches beyond the end of an MP4; 0 when none does."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:16])
        if length < 8:
            return 0  # to the end of the file, or no box
        position += length
        if position > size:
            return position if header[4:8] in _FILLED else 0
    return 0


def _end_of_segment(file: BinaryIO) -> int:
    """Return where the segment of a Matroska file ends, 0 when it does not say, as live streams do."""
    file.seek(len(_EBML))
    header_size = _read_vint(file)
    if header_size is None:
        return 0
    file.seek(header_size, 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    segment_size = _read_vint(file)
    return 0 if segment_size is None else file.tell() + segment_size


def _read_vint(file: BinaryIO) -> int | None:
    """Return the size that stands here in Matroska's spelling, None for "unknown" (all bits set) and for no such number."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    bits = 7 * length
    value = int.from_bytes(first + file.read(length - 1)) & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Return where the last part of an AVI ends; one of more than a gigabyte has several."""
    position = 0
    while position + 12 <= size:
        file.seek(position)
        header = file.read(12)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length in _UNKNOWN_RIFF:
            return 0
        position += 8 + length + length % 2
    return position
