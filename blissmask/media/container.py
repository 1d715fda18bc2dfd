"""Find video files that are cut off: shorter than their container states.

A broken download, a full disk or an empty camera battery leaves such files; FFmpeg may decode them without an error.
Only the sizes that MP4 and MOV, Matroska and WebM, and AVI state are read, a few bytes each; other containers state
none. PyAV reads containers too, but it is one more dependency, which brings a second FFmpeg beside OpenCV's.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_SLACK = 16
"""Bytes that may be missing: some writers of AVI do not count the 8 bytes of the first header, or a byte of padding.

So few bytes never hold a frame.
"""
_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot")
"""Boxes that an MP4 or MOV file may begin with (source: ISO 14496-12 and Apple's QuickTime File Format)."""
_FILLED = (b"moov", b"moof", b"mdat")
"""Boxes that a video needs. Any other box that is longer than the file may be rubbish behind its end."""
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
"""Identifiers of Matroska's header and of its segment, which holds all the rest (source: RFC 8794 and RFC 9559)."""
_UNKNOWN_RIFF = (0, 0xFFFFFFFF)
"""Lengths of a RIFF part whose writer did not know it."""


def missing_bytes(path: Path) -> int:
    """Return how many bytes a video file is shorter than it states; 0 when it is whole, or states no size.

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
    """Return the end of the box that reaches beyond the end of an MP4; 0 when there is none."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:16])
        if length < 8:
            # 0 is a box up to the end of the file; the other values are no boxes.
            return 0
        position += length
        if position > size:
            return position if header[4:8] in _FILLED else 0
    return 0


def _end_of_segment(file: BinaryIO) -> int:
    """Return the end of the segment of a Matroska file; 0 when the file does not state it, as with live streams."""
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
    """Read a number of variable length, as EBML writes sizes; None for "unknown" (all bits set) and for no number."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    bits = 7 * length
    value = int.from_bytes(first + file.read(length - 1)) & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Return the end of the last RIFF part of an AVI; a file of more than a gigabyte has several."""
    position = 0
    while position + 12 <= size:
        file.seek(position)
        header = file.read(12)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length in _UNKNOWN_RIFF:
            return 0
        position += 8 + length + length % 2
    return position
