"""Read photos, their colours and their alpha, through what ``picture_file.py`` opens.

They are turned upright by their EXIF orientation, as masks are. Alpha is split off before anything else, and sizes
are checked before pixels are decoded. Beside the decoder's own picture, nothing but the result has the full size: it is
filled in strips. H, W: rows and columns of the upright picture; 3 = RGB. Sizes are (width, height).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blissmask.masks.weights import MAX_VALUE_16
from blissmask.media import colour
from blissmask.media.deep_colour import DeepConversion, deep_conversion
from blissmask.media.picture_file import OpenedPicture, opened


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded photo.

    Attributes:
        rgb_HW3: uint8 colours in sRGB, also where alpha is 0.
        alpha_HW: uint8 alpha; None when the file has no alpha channel and no transparent colour.
    """

    rgb_HW3: NDArray[np.uint8]
    alpha_HW: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A decoded photo whose values are those of its file.

    Attributes:
        image: upright, RGB or RGBA; Pillow's own picture, since an array of the same values would take as much again.
        icc_profile: the RGB colour profile that says what the values mean; empty when they are sRGB.
    """

    image: Image.Image
    icc_profile: bytes

    @property
    def size_wh(self) -> tuple[int, int]:
        """Return its size."""
        return self.image.size

    def set_alpha(self, alpha_HW: NDArray[np.uint8]) -> None:
        """Put an alpha channel into the picture, in the place of its own if it has one; the colours stay."""
        self.image.putalpha(Image.fromarray(alpha_HW))


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a picture file.

    Attributes:
        size_wh: size of the upright picture.
        has_alpha: whether it has an alpha channel or a transparent colour.
        profile: name of the colour profile from which :func:`read_image` converts to sRGB; empty when it need not.
        was_turned: whether EXIF turned it upright.
    """

    size_wh: tuple[int, int]
    has_alpha: bool
    profile: str = ""
    was_turned: bool = False


def read_header(path: Path) -> Header:
    """Read a picture's upright size, whether it has alpha and its colour profile, without decoding it.

    Raises:
        MediaError: the file is missing, no picture, damaged, or over :data:`MAX_PIXELS`.
    """
    with opened(path) as file:
        profile = colour.profile_name(file.image, file.profile)
        return Header(
            size_wh=file.size_wh,
            has_alpha=file.image.has_transparency_data,
            profile=profile,
            was_turned=file.orientation != 1,
        )


def read_size(path: Path) -> tuple[int, int]:
    """Return a picture's upright (width, height) without decoding it; errors as in :func:`read_header`."""
    return read_header(path).size_wh


def read_image(path: Path) -> Picture:
    """Decode a photo upright, in sRGB, with its alpha apart.

    Of an animation, the first frame is decoded. 16 bits become 8, after a conversion of colours, and CMYK becomes RGB.

    Raises:
        MediaError: the file is missing, no picture, damaged, or over :data:`MAX_PIXELS`.
    """
    with opened(path) as file:
        image = file.load()
        rgb_HW3 = file.empty_upright(3, dtype=np.uint8)
        alpha_HW = file.empty_upright(dtype=np.uint8) if image.has_transparency_data else None
        conversion = _deep_conversion(file)
        if conversion is not None:
            _fill_deep(rgb_HW3, file, conversion)
        for rows, strip in file.strips():
            if conversion is None:
                file.as_stored(rgb_HW3)[rows] = np.asarray(colour.to_srgb(_in_8_bit(strip), file.profile))
            if alpha_HW is not None:
                file.as_stored(alpha_HW)[rows] = _alpha_of(strip)
        return Picture(rgb_HW3, alpha_HW)


def read_stored(path: Path) -> StoredPicture:
    """Decode a photo upright with the RGB values of its file and the profile that says what they mean.

    Where the file holds no RGB values but grey or CMYK with a profile of its own, they are converted to sRGB, and so
    are RGB values of 16 bits with a profile, which 8 bits cannot keep. Without one, the upper 8 are kept. Errors as in
    :func:`read_image`.
    """
    with opened(path) as file:
        image = file.load()
        conversion = _deep_conversion(file)
        keeps_values = colour.space_of(file.profile) == colour.RGB and image.mode != "CMYK" and conversion is None
        profile = file.profile if keeps_values else b""
        if file.orientation == 1 and (keeps_values or not file.profile) and image.mode in ("RGB", "RGBA"):
            # What the file says of itself is nothing to be saved with the new picture.
            image.info.clear()
            return StoredPicture(image, profile)
        rgb_HW3 = file.empty_upright(3, dtype=np.uint8)
        if conversion is not None:
            _fill_deep(rgb_HW3, file, conversion)
            return StoredPicture(Image.fromarray(rgb_HW3), b"")
        for rows, strip in file.strips():
            shown = _in_8_bit(strip)
            rgb = shown.convert("RGB") if keeps_values else colour.to_srgb(shown, file.profile)
            file.as_stored(rgb_HW3)[rows] = np.asarray(rgb)
    # Decoded and upright, a large photo takes 340 MB, so the first goes before Pillow copies the second.
    del file, image, strip, shown, rgb
    return StoredPicture(Image.fromarray(rgb_HW3), profile)


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


def _deep_conversion(file: OpenedPicture) -> DeepConversion | None:
    """Return how a picture of 16 bits comes to sRGB; None for others, and where its values are taken as they are."""
    if not file.is_deep or not colour.is_converted(file.image, file.profile):
        return None
    return deep_conversion(file.profile)


def _fill_deep(rgb_HW3: NDArray[np.uint8], file: OpenedPicture, conversion: DeepConversion) -> None:
    """Fill an upright array with the colours of a decoded picture of 16 bits."""
    for (rows, _), values in zip(file.strips(), file.deep_strips(), strict=True):
        file.as_stored(rgb_HW3)[rows] = conversion.to_srgb(values)


def _in_8_bit(strip: Image.Image) -> Image.Image:
    """Return a strip in its own mode; a 16-bit one in 8 bits, rounded to the nearest."""
    if not strip.mode.startswith("I"):
        return strip
    values_HW = np.asarray(strip, dtype=np.float32)
    return Image.fromarray(np.rint(values_HW * (255 / MAX_VALUE_16)).clip(0, 255).astype(np.uint8))


def _alpha_of(strip: Image.Image) -> NDArray[np.uint8]:
    """Return the alpha of a strip that has an alpha channel or one transparent colour."""
    if strip.mode.startswith("I"):
        return np.where(np.asarray(strip) == strip.info.get("transparency"), np.uint8(0), np.uint8(255))
    return np.asarray(strip.convert("RGBA").getchannel("A"), dtype=np.uint8)
