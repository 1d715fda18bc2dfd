"""Write PNG files with a note of how they were made, and read the note without decoding the picture.

A PNG is a sequence of chunks, each with its own checksum. The note is a ``tEXt`` chunk named ``blissmask`` before the
image data: a JSON object, which also holds one hash over the checksums of the image data. When somebody edits and saves
the picture, the hash no longer matches, even if the chunk survives. H, W: rows and columns; 3 = RGB, 4 = RGB and alpha.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from blissmask.errors import MediaError
from blissmask.storage import atomic
from blissmask.storage.ordinary import open_ordinary
from blissmask.storage.seen import NOTHING_SEEN, Seen

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = b"blissmask"
_IMAGE_DATA = "image_data"
_MAX_NOTE_BYTES = 1 << 20
"""Longer chunks are not read: a hostile file may claim any length."""
# Photos barely shrink beyond level 2, and level 6 takes four times as long. Masks are flat and shrink well at once.
_PHOTO_LEVEL = 2
_MASK_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Note:
    """The note of a PNG of ours.

    Attributes:
        content: the JSON object that was written with the picture.
        untouched: whether the image data is still the data that was written.
    """

    content: Mapping[str, object]
    untouched: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a PNG: its type, start and length of its data, and its stored checksum."""

    kind: bytes
    start: int
    length: int
    checksum: bytes


def write_png_grey(
    path: Path,
    grey_HW: NDArray[np.uint8],
    *,
    note: Mapping[str, object] | None = None,
    edited: bool = False,
    seen: Seen = NOTHING_SEEN,
) -> None:
    """Publish an 8-bit grey PNG.

    Args:
        path: the file; its folder is created.
        grey_HW: uint8 values, written as they are.
        note: JSON object to carry; see :func:`read_note`.
        edited: whether a person changed the picture since ``note`` was made for it, so that nobody takes it for what
            the note describes.
        seen: what the plan saw of the item's files; see ``storage.atomic.publishing``.

    Raises:
        MachineError, ChangedError: as ``storage.atomic.publishing``; nothing is left behind.
    """
    _publish(path, Image.fromarray(grey_HW), level=_MASK_LEVEL, note=note, edited=edited, seen=seen)


def write_png_rgb(
    path: Path, rgb_HW3: NDArray[np.uint8], *, note: Mapping[str, object] | None = None, icc_profile: bytes = b""
) -> None:
    """Publish an RGB PNG; arguments and errors as in :func:`write_png_rgba`."""
    _publish(path, Image.fromarray(rgb_HW3), level=_PHOTO_LEVEL, note=note, icc_profile=icc_profile)


def write_png_rgba(
    path: Path,
    picture: Image.Image,
    *,
    note: Mapping[str, object] | None = None,
    icc_profile: bytes = b"",
    seen: Seen = NOTHING_SEEN,
) -> None:
    """Publish an RGBA PNG whose values are exactly those of ``picture``, colours where alpha is 0 included.

    Args:
        path: the file; its folder is created.
        picture: colours and alpha, mode RGBA; Pillow's own, since a large photo should be in memory once.
        note: JSON object to carry; see :func:`read_note`.
        icc_profile: the colour profile of the values, empty for none.
        seen: what the plan saw of the item's files; see ``storage.atomic.publishing``.

    Raises:
        MachineError, ChangedError: as ``storage.atomic.publishing``; nothing is left behind.
    """
    _publish(path, picture, level=_PHOTO_LEVEL, note=note, icc_profile=icc_profile, seen=seen)


def read_note(path: Path) -> Note | None:
    """Return the note of a PNG; None when it has none or is no PNG. Only the chunks' headers and the note are read.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        with open_ordinary(path) as file:
            return _find_note(file)
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error


def is_made_by(path: Path, command: str) -> bool:
    """Return whether a file is a PNG whose note names ``command``; nothing and what is no file are not.

    Raises:
        MediaError: the file cannot be read.
    """
    note = read_note(path) if path.is_file() else None
    return note is not None and note.content.get("command") == command


def walk_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks of an open PNG up to its end, or up to where it is cut off; nothing when it is no PNG.

    Image data is skipped, not read.
    """
    file.seek(0)
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return
    position = len(SIGNATURE)
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        file.seek(position + 8 + length)
        checksum = file.read(4)
        if len(checksum) < 4:
            return
        yield Chunk(kind, position + 8, length, checksum)
        position += length + 12


def _find_note(file: BinaryIO) -> Note | None:
    chunks = list(walk_chunks(file))
    for chunk in chunks:
        if chunk.kind != b"tEXt" or not len(KEYWORD) < chunk.length <= _MAX_NOTE_BYTES:
            continue
        file.seek(chunk.start)
        keyword, _, text = file.read(chunk.length).partition(b"\0")
        if keyword == KEYWORD:
            return _parse(text, _data_checksum(chunks))
    return None


def _parse(text: bytes, data_checksum: str) -> Note | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        # No JSON, or brackets nested deeper than Python reads.
        return None
    if not isinstance(content, dict):
        return None
    written = content.pop(_IMAGE_DATA, None)
    return Note(content, untouched=written == data_checksum)


def _publish(
    path: Path,
    picture: Image.Image,
    *,
    level: int,
    note: Mapping[str, object] | None,
    icc_profile: bytes = b"",
    edited: bool = False,
    seen: Seen = NOTHING_SEEN,
) -> None:
    """Write a PNG straight into its file: a large photo would take its encoded size in memory besides.

    The hash of the image data is known only when all of it is written, so the note is written with a hash of the same
    length first and corrected in place.
    """
    about = None
    if note is not None:
        about = PngImagePlugin.PngInfo()
        about.add_text(KEYWORD.decode(), _note_text(note, _data_checksum([])))
    with atomic.publishing(path, seen=seen) as temporary, temporary.open("r+b") as file:
        picture.save(file, "PNG", compress_level=level, icc_profile=icc_profile or None, pnginfo=about)
        if note is not None and not edited:
            _correct_note(file, note)


def _correct_note(file: BinaryIO, note: Mapping[str, object]) -> None:
    chunks = list(walk_chunks(file))
    content = KEYWORD + b"\0" + _note_text(note, _data_checksum(chunks)).encode("ascii")
    chunk = next(chunk for chunk in chunks if chunk.kind == b"tEXt")
    assert chunk.length == len(content)
    file.seek(chunk.start)
    file.write(content + struct.pack(">I", zlib.crc32(b"tEXt" + content)))


def _note_text(note: Mapping[str, object], data_checksum: str) -> str:
    return json.dumps({**note, _IMAGE_DATA: data_checksum}, ensure_ascii=True, sort_keys=True)


def _data_checksum(chunks: list[Chunk]) -> str:
    """Return one hash over the checksums of the chunks that decide the picture's pixels."""
    digest = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        if chunk.kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT"):
            digest.update(chunk.kind + chunk.length.to_bytes(4, "big") + chunk.checksum)
    return digest.hexdigest()
