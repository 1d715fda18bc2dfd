"""Read pictures: the one place where they are decoded.

Photos and masks alike are turned upright by their EXIF orientation. Alpha is split off before anything else, and sizes
are checked before pixels are decoded. H, W: rows and columns of the upright picture; 3 = RGB. Sizes are (width,
height).
"""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
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
from blissmask.media.png import walk_chunks

MAX_PIXELS = 178_956_970
"""Larger pictures are refused before they are decoded; Pillow refuses at the same number, twice its warning limit."""

_PLUGINS = (
    PngImagePlugin.PngImageFile,
    JpegImagePlugin.JpegImageFile,
    WebPImagePlugin.WebPImageFile,
    BmpImagePlugin.BmpImageFile,
    AvifImagePlugin.AvifImageFile,
)
_FORMATS = tuple(plugin.format for plugin in _PLUGINS)
_MAX_16_BIT = 65535
# The values of the EXIF orientation (tag 274) that are not upright, with the step that turns the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = {5, 6, 7, 8}
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


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded photo.

    Attributes:
        rgb_HW3: uint8 colours, also where alpha is 0.
        alpha_HW: uint8 alpha; None when the file has no alpha channel and no transparent colour.
        icc_profile: the file's RGB colour profile; empty when there is none.
    """

    rgb_HW3: NDArray[np.uint8]
    alpha_HW: NDArray[np.uint8] | None
    icc_profile: bytes = b""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a picture file.

    Attributes:
        size_wh: size of the upright picture.
        has_alpha: whether it has an alpha channel or a transparent colour.
    """

    size_wh: tuple[int, int]
    has_alpha: bool


@dataclass(frozen=True, slots=True)
class MaskPicture:
    """A decoded mask.

    Attributes:
        weights_HW: float32 mask weights in [0, 1].
        doubt: why the values may not be the intended ones ("JPEG compression changes mask values"); empty when there
            is no doubt.
    """

    weights_HW: NDArray[np.float32]
    doubt: str = ""

    def to_grey(self) -> NDArray[np.uint8]:
        """Return the weights as 8-bit values, (H, W); 16-bit values are rounded to the nearest."""
        return np.rint(self.weights_HW * 255).astype(np.uint8)


def read_header(path: Path) -> Header:
    """Read a picture's upright size and whether it has alpha, without decoding it.

    Raises:
        MediaError: the file is missing, no picture, damaged, or over :data:`MAX_PIXELS`.
    """
    with _opened(path) as (image, orientation):
        width, height = image.size
        size_wh = (height, width) if orientation in _ON_ITS_SIDE else (width, height)
        return Header(size_wh=size_wh, has_alpha=image.has_transparency_data)


def read_size(path: Path) -> tuple[int, int]:
    """Return a picture's upright (width, height) without decoding it; errors as in :func:`read_header`."""
    return read_header(path).size_wh


def read_image(path: Path) -> Picture:
    """Decode a photo upright, with its alpha apart.

    Of an animation, the first frame is decoded. 16 bits become 8, and CMYK becomes RGB.

    Raises:
        MediaError: the file is missing, no picture, damaged, or over :data:`MAX_PIXELS`.
    """
    with _decoded(path) as image:
        profile = image.info.get("icc_profile") or b""
        # Bytes 16 to 19 of a profile name its colour space (ICC.1, profile header). A profile for CMYK or grey does not
        # fit the RGB values that are returned here.
        profile = profile if profile[16:20] == b"RGB " else b""
        if image.mode.startswith("I"):
            grey_HW, alpha_HW = _split_16_bit(image)
            return Picture(np.dstack([grey_HW] * 3), alpha_HW, profile)
        if not image.has_transparency_data:
            return Picture(np.array(image.convert("RGB")), None, profile)
        rgba_HW4 = np.asarray(image.convert("RGBA"))
        return Picture(np.ascontiguousarray(rgba_HW4[..., :3]), np.ascontiguousarray(rgba_HW4[..., 3]), profile)


def read_mask_picture(path: Path) -> MaskPicture:
    """Decode a mask upright and note what is doubtful about it.

    8-bit values are divided by 255, 16-bit values by 65535. Palettes count by their colours, and colours by their
    brightness. An alpha channel does not count.

    Raises:
        MediaError: the file is missing, no picture, damaged, or over :data:`MAX_PIXELS`.
    """
    with _decoded(path) as image:
        if image.mode.startswith("I"):
            return MaskPicture(_to_weights(np.asarray(image), _MAX_16_BIT))
        grey_HW, coloured = _to_grey(image)
        doubts = []
        if image.format in ("JPEG", "MPO"):
            doubts.append("JPEG compression changes mask values")
        elif coloured:
            doubts.append("the mask is coloured, its brightness is used")
        if image.mode in ("RGBA", "LA", "PA") and np.asarray(image.getchannel("A")).min() < 255:
            doubts.append("its alpha channel is not used")
        return MaskPicture(_to_weights(grey_HW, 255), "; ".join(doubts))


def read_mask(path: Path) -> NDArray[np.float32]:
    """Decode a mask upright to float32 weights in [0, 1]; see :func:`read_mask_picture`."""
    return read_mask_picture(path).weights_HW


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Decode a mask upright to 8-bit values; see :func:`read_mask_picture`."""
    return read_mask_picture(path).to_grey()


def resize_rgb(rgb_HW3: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize colours: Pillow's Lanczos when a side grows, OpenCV's area average otherwise.

    Source: musubi-tuner's ``resize_image_to_bucket``. The picture must have no alpha: Lanczos on RGBA blackens
    transparent pixels.
    """
    height, width = rgb_HW3.shape[:2]
    if (width, height) == size_wh:
        return rgb_HW3
    if size_wh[0] > width or size_wh[1] > height:
        return np.array(Image.fromarray(rgb_HW3).resize(size_wh, Image.Resampling.LANCZOS))
    return np.asarray(cv2.resize(rgb_HW3, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, int]]:
    """Yield the picture with its header read, and its EXIF orientation; raise MediaError for whatever goes wrong."""
    try:
        with path.open("rb") as file:
            try:
                image = Image.open(file, formats=_FORMATS)  # noqa: TID251
                # Pillow has the same limit, but any other package may have turned it off.
                if image.width * image.height > MAX_PIXELS:
                    raise _too_large(path)
                yield image, _orientation(image, file)
            except Image.DecompressionBombError as error:
                raise _too_large(path) from error
            except _DAMAGE as error:
                raise _damaged(path, file, error) from error
    except OSError as error:
        raise MediaError(f"the picture cannot be read: {error.strerror or error}", where=[path]) from error


@contextlib.contextmanager
def _decoded(path: Path) -> Iterator[Image.Image]:
    """Yield the decoded, upright picture in the mode of the file."""
    with _opened(path) as (image, orientation):
        image.load()
        upright = image
        if orientation in _UPRIGHT:
            upright = image.transpose(_UPRIGHT[orientation])
            # `transpose` returns a picture without a format; `read_mask_picture` asks for it.
            upright.format = image.format
        yield upright


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


def _split_16_bit(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return the 8-bit values of a 16-bit grey picture, and its alpha when one grey is declared transparent."""
    values_HW = np.asarray(image, dtype=np.float32)
    grey_HW = np.rint(values_HW * (255 / _MAX_16_BIT)).clip(0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is None:
        return grey_HW, None
    return grey_HW, np.where(values_HW == transparent, np.uint8(0), np.uint8(255))


def _to_grey(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """Return the brightness of a picture of at most 8 bits, and whether it has colours."""
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L")), False
    rgb = image.convert("RGB")
    rgb_HW3 = np.asarray(rgb)
    return np.array(rgb.convert("L")), bool((rgb_HW3.max(axis=2) != rgb_HW3.min(axis=2)).any())


def _to_weights(values_HW: NDArray[np.unsignedinteger], max_value: int) -> NDArray[np.float32]:
    return np.asarray(values_HW.astype(np.float32) / np.float32(max_value), dtype=np.float32)


def _damaged(path: Path, file: BinaryIO, error: Exception) -> MediaError:
    """Return the error for a file that does not decode."""
    file.seek(0)
    start = file.read(256).lstrip().lower()
    if not start:
        return MediaError("the file is empty", where=[path], fix="copy or download it again")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return MediaError("the file holds a web page, not a picture", where=[path], fix="download the picture itself")
    if isinstance(error, UnidentifiedImageError):
        return MediaError(
            "not a PNG, JPEG, WebP, BMP or AVIF picture", where=[path], fix="convert it to PNG or JPEG, or remove it"
        )
    return MediaError(
        f"the picture is damaged: {error or type(error).__name__}",
        where=[path],
        fix="copy or export it again, or remove it",
    )
