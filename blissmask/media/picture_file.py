"""Open picture files: formats, limits, orientation, and what is said about files that cannot be used.

H, W: rows and columns of the upright picture. Sizes are (width, height).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from blissmask.errors import MediaError
from blissmask.media import colour
from blissmask.media.png import walk_chunks
from blissmask.storage.ordinary import open_ordinary, read_bytes

MAX_PIXELS = 178_956_970
"""Larger pictures are refused before they are decoded; Pillow refuses at the same number, twice its warning limit."""

MAX_SCANS = 50
"""A progressive JPEG of more scans is refused before it is decoded.

Each scan goes over the whole picture again, whatever few bytes it has: half a second at 48 megapixels, measured on one
core. libjpeg writes 10 scans; a file of a megabyte can hold ten thousand.
"""
_PNG_DEPTH = 24
"""Where a PNG names its bits a value, and behind it the kind of its colours (source: PNG 3, 11.2.1)."""
_STRIP_ROWS = 64
"""Rows that are converted at a time: 4 MB of a large photo, so that nothing but the result has its full size."""

_PLUGINS = (
    PngImagePlugin.PngImageFile,
    JpegImagePlugin.JpegImageFile,
    WebPImagePlugin.WebPImageFile,
    BmpImagePlugin.BmpImageFile,
    AvifImagePlugin.AvifImageFile,
)
_PNG = PngImagePlugin.PngImageFile.format
_FORMATS = tuple(plugin.format for plugin in _PLUGINS)
_HEIF = "HEIF"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
"""Brands of HEIF files, bytes 8 to 11 (source: ISO 23008-12); AVIF files may have the general ones, mif1 and msf1."""
_SCAN_OR_SEGMENT = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
"""A marker of a JPEG; inside a scan, ff stands only before 00 and restart markers (source: ITU-T T.81, B.1.1)."""
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# Values of the EXIF orientation (tag 274; source: Exif 2.3, 4.6.4) where the stored picture lies on its side, and where
# its rows or its columns then come in the opposite order.
_ON_ITS_SIDE, _ROWS_TURNED, _COLUMNS_TURNED = {5, 6, 7, 8}, {3, 4, 6, 7}, {2, 3, 7, 8}
# Errors of Pillow's decoders on damaged files: they pass on whatever their parts raise. tests/property damages files of
# each format to check that no other error comes out.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)

# Warnings of no use to a user: every picture's size is checked here, and unreadable EXIF counts as upright.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def return_large_pieces() -> None:
    """Let Pillow keep pictures in pieces that are returned to the system, unless the user's own size is set.

    Pieces of 16 MB, Pillow's own, may stay with the process when they are freed: glibc keeps what is below 32 MB for
    the thread that had it, 144 to 190 MB after a photo of 48 megapixels, where 3 MB stay of pieces of 64 MB.
    """
    # This variable is Pillow 13's only public way. It is read once, when Pillow is imported, which another library may
    # have done before us; and programs that we start would get it, too.
    if "PILLOW_BLOCK_SIZE" not in os.environ:
        Image.core.set_block_size(64 << 20)  # type: ignore[attr-defined]


return_large_pieces()

DType = TypeVar("DType", np.uint8, np.uint16)


@dataclass(frozen=True)
class OpenedPicture:
    """A picture file whose header was read.

    Attributes:
        path: the file.
        file: the open file.
        image: the picture; its pixels are decoded by :meth:`load`.
        orientation: EXIF orientation, 1 to 8.
    """

    path: Path
    file: BinaryIO
    image: Image.Image
    orientation: int

    @property
    def size_wh(self) -> tuple[int, int]:
        """Return the upright size."""
        width, height = self.image.size
        return (height, width) if self.orientation in _ON_ITS_SIDE else (width, height)

    @cached_property
    def profile(self) -> bytes:
        """Return the ICC profile of the values; empty when nothing says that they are not sRGB."""
        return colour.profile_of(self.image, self.file)

    @cached_property
    def is_deep(self) -> bool:
        """Return whether it is a PNG of 16 bits, grey or RGB, with or without alpha; not grey with alpha."""
        if self.image.format != _PNG:
            return False
        self.file.seek(_PNG_DEPTH)
        return tuple(self.file.read(2)) in {(16, 0), (16, 2), (16, 6)}

    def load(self) -> Image.Image:
        """Decode the picture and return it, in the mode of the file and not turned upright.

        Raises:
            MediaError: a JPEG has more than :data:`MAX_SCANS` scans.
        """
        if self.image.info.get("progressive"):
            _refuse_many_scans(self.path)
        self.image.load()
        return self.image

    def strips(self) -> Iterator[tuple[slice, Image.Image]]:
        """Yield the decoded picture a few rows at a time, with the rows of the stored picture that they are."""
        width, height = self.image.size
        for top in range(0, height, _STRIP_ROWS):
            bottom = min(height, top + _STRIP_ROWS)
            yield slice(top, bottom), self.image.crop((0, top, width, bottom))

    def deep_strips(self) -> Iterator[NDArray[np.uint16]]:
        """Yield the 16-bit values of a deep picture that is decoded, (h, W) or (h, W, 3), in the strips of `strips`."""
        if self.image.mode.startswith("I"):
            for _, strip in self.strips():
                yield np.asarray(strip).astype(np.uint16)
            return
        lower = Image.open(self.file, formats=(_PNG,))  # noqa: TID251
        # Pillow keeps the upper byte of each value. Of the other byte order, what it takes for that is the lower one.
        lower.tile = [tile._replace(args=str(tile.args).replace("16B", "16L")) for tile in lower.tile]
        lower.load()
        for rows, strip in self.strips():
            low = lower.crop((0, rows.start, self.image.width, rows.stop))
            upper_hW3 = np.asarray(strip)[..., :3].astype(np.uint16)
            yield upper_hW3 << 8 | np.asarray(low)[..., :3]

    def empty_upright(self, *channels: int, dtype: type[DType]) -> NDArray[DType]:
        """Return an array for the upright picture, (H, W) or (H, W, channels), to be filled by :meth:`as_stored`."""
        width, height = self.size_wh
        return np.empty((height, width, *channels), dtype=dtype)

    def as_stored(self, upright_HW: NDArray[DType]) -> NDArray[DType]:
        """Return a view of an upright array whose rows and columns are those of the stored picture."""
        stored_HW = upright_HW.swapaxes(0, 1) if self.orientation in _ON_ITS_SIDE else upright_HW
        if self.orientation in _ROWS_TURNED:
            stored_HW = stored_HW[::-1]
        return stored_HW[:, ::-1] if self.orientation in _COLUMNS_TURNED else stored_HW


@contextlib.contextmanager
def opened(path: Path) -> Iterator[OpenedPicture]:
    """Yield a picture with its header read.

    Raises:
        MediaError: the file is missing, no picture, damaged, or over :data:`MAX_PIXELS`; raised for errors within the
            block, too.
    """
    try:
        with open_ordinary(path) as file:
            try:
                image = Image.open(file, formats=_formats(path, file))  # noqa: TID251
                # Pillow has the same limit, but any other package may have turned it off.
                if image.width * image.height > MAX_PIXELS:
                    raise _too_large(path)
                yield OpenedPicture(path, file, image, _orientation(image, file))
            except Image.DecompressionBombError as error:
                raise _too_large(path) from error
            except _DAMAGE as error:
                raise _damaged(path, file, error) from error
    except OSError as error:
        raise MediaError(f"the picture cannot be read: {error.strerror or error}", where=[path]) from error


def _formats(path: Path, file: BinaryIO) -> tuple[str, ...]:
    """Return the formats that the file may have; HEIF is one where the file begins like it, whatever its name.

    Raises:
        MediaError: it is a HEIF file, and the package that reads them is missing.
    """
    start = file.read(64)
    file.seek(0)
    is_heif = start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS and not any(name in start for name in _AVIF_BRANDS)
    if not is_heif:
        return _FORMATS
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise MediaError(
            "a HEIC photo; `pillow-heif` reads them and is not installed",
            where=[path],
            fix="install it: `pip install 'blissmask[heif]'`, or convert it to JPEG",
        ) from error
    return (_HEIF,)


def _refuse_many_scans(path: Path) -> None:
    """Raise MediaError when a progressive JPEG has too many scans; its segments are walked, nothing is decoded."""
    data, position, scans = read_bytes(path), 2, 0
    while (marker := _SCAN_OR_SEGMENT.search(data, position)) is not None and marker[1][0] != _END_OF_IMAGE:
        kind, start = marker[1][0], marker.end()
        scans += kind == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise MediaError(
                f"the JPEG has more than the {MAX_SCANS} scans that are read, each of the whole picture",
                where=[path],
                fix="save it again, or remove it if it should not be a progressive JPEG",
            )
        # At least the two bytes of the length itself, so that a false one cannot hold the search in its place.
        position = start + max(2, int.from_bytes(data[start : start + 2]))


def _too_large(path: Path) -> MediaError:
    return MediaError(
        f"the picture claims more than the {MAX_PIXELS / 1e6:.0f} million pixels that are read",
        where=[path],
        fix="make it smaller, or remove it if it should not be that large",
    )


def _orientation(image: Image.Image, file: BinaryIO) -> int:
    """Return the EXIF orientation, 1 to 8, without decoding pixels.

    1 (upright) when the EXIF block is unreadable, as viewers do.
    """
    if image.format == "PNG" and "exif" not in image.info:
        # The EXIF chunk may stand behind the pixels, and Pillow would decode them all to get there.
        exif = next((chunk for chunk in walk_chunks(file) if chunk.kind == b"eXIf"), None)
        if exif is not None:
            file.seek(exif.start)
            image.info["exif"] = file.read(exif.length)
    try:
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def no_media(path: Path, start: bytes, kind: str) -> MediaError | None:
    """Return the error for a file that is empty, or the page of an error instead of a download; else None.

    Args:
        path: the file.
        start: its first bytes.
        kind: what it should be: "picture" or "video".
    """
    text = start.lstrip().lower()
    if not text:
        return MediaError("the file is empty", where=[path], fix="copy or download it again")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return MediaError(f"the file holds a web page, not a {kind}", where=[path], fix=f"download the {kind} itself")
    return None


def _damaged(path: Path, file: BinaryIO, error: Exception) -> MediaError:
    """Return the error for a file that does not decode."""
    file.seek(0)
    if (other := no_media(path, file.read(256), "picture")) is not None:
        return other
    if isinstance(error, UnidentifiedImageError):
        return MediaError(
            "not a PNG, JPEG, WebP, BMP or AVIF picture", where=[path], fix="convert it to PNG or JPEG, or remove it"
        )
    return MediaError(
        f"the picture is damaged: {error or type(error).__name__}",
        where=[path],
        fix="copy or export it again, or remove it",
    )
