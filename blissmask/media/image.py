"""Read pictures: the one place where they are decoded, through what ``picture_file.py`` opens.

Photos and masks alike are turned upright by their EXIF orientation. Alpha is split off before anything else, and sizes
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

from blissmask.masks.weights import MAX_VALUE_16, to_weights
from blissmask.media import colour
from blissmask.media.deep_colour import DeepConversion, deep_conversion
from blissmask.media.picture_file import OpenedPicture, opened

_MAX_VALUE = 255
_MOST_CLASSES = 32
"""Masks in which nothing is brighter are told of: Sapiens has 28 classes, more than any other set for people."""


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


@dataclass(frozen=True, slots=True)
class MaskPicture:
    """A decoded mask.

    Attributes:
        values_HW: the values of the file, of 8 or 16 bits.
        doubt: why the values may not be the intended ones ("JPEG compression changes mask values"); empty when there
            is no doubt.
    """

    values_HW: NDArray[np.uint8] | NDArray[np.uint16]
    doubt: str = ""

    def weights(self) -> NDArray[np.float32]:
        """Return float32 mask weights in [0, 1], (H, W); they take four times the memory of 8-bit values."""
        return to_weights(self.values_HW)

    def to_grey(self) -> NDArray[np.uint8]:
        """Return the weights as 8-bit values, (H, W); 16-bit values are rounded to the nearest."""
        if self.values_HW.dtype == np.uint8:
            return self.values_HW.astype(np.uint8, copy=False)
        return np.rint(self.weights() * 255).astype(np.uint8)


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


def read_mask_picture(path: Path) -> MaskPicture:
    """Decode a mask upright and note what is doubtful about it.

    8-bit values are divided by 255, 16-bit values by 65535. Palettes count by their colours, and colours by their
    brightness. An alpha channel does not count.

    Raises:
        MediaError: the file is missing, no picture, damaged, or over :data:`MAX_PIXELS`.
    """
    with opened(path) as file:
        image = file.load()
        if image.mode.startswith("I"):
            values_HW = file.empty_upright(dtype=np.uint16)
            for rows, strip in file.strips():
                file.as_stored(values_HW)[rows] = np.asarray(strip)
            return MaskPicture(values_HW, _doubt_about_16_bit(values_HW))
        grey_HW, coloured, transparent = file.empty_upright(dtype=np.uint8), False, False
        for rows, strip in file.strips():
            file.as_stored(grey_HW)[rows], strip_is_coloured = _to_grey(strip)
            coloured |= strip_is_coloured
            transparent |= strip.mode in ("RGBA", "LA", "PA") and np.asarray(strip.getchannel("A")).min() < 255
        doubts = []
        if image.format in ("JPEG", "MPO"):
            doubts.append("JPEG compression changes mask values")
        elif coloured:
            doubts.append("the mask is coloured, its brightness is used")
        darkest, brightest = int(grey_HW.min()), int(grey_HW.max())
        is_matte = transparent and darkest == brightest
        doubt = class_number_doubt(brightest)
        if not doubt and not is_matte:
            doubt = _uniform_doubt(darkest, brightest)
        if doubt:
            doubts.append(doubt)
        if transparent:
            rest = f", and the rest is {_shade(brightest)} everywhere" if is_matte else ""
            doubts.append(f"its alpha channel is not used{rest}")
        return MaskPicture(grey_HW, "; ".join(doubts))


def class_number_doubt(brightest: int, *, whose: str = "its") -> str:
    """Return why a mask whose brightest 8-bit value is this may hold class numbers; empty when it does not look so."""
    if 0 < brightest < _MOST_CLASSES:
        return f"{whose} brightest value is {brightest} of {_MAX_VALUE}, as if its values were class numbers"
    return ""


def alpha_doubt(alpha_HW: NDArray[np.uint8]) -> str:
    """Return why an alpha channel may not be the mask that was meant; empty when there is no doubt."""
    darkest, brightest = int(alpha_HW.min()), int(alpha_HW.max())
    doubt = class_number_doubt(brightest, whose="its alpha channel's")
    return doubt or _uniform_doubt(darkest, brightest, what="its alpha channel")


def _uniform_doubt(darkest: int, brightest: int, *, of: int = _MAX_VALUE, what: str = "it") -> str:
    """Return that a mask has one value everywhere; empty for black and white, which are told of as such."""
    if 0 < darkest == brightest < of:
        return f"{what} is {brightest} of {of} everywhere, so nothing is masked"
    return ""


def _doubt_about_16_bit(values_HW: NDArray[np.uint16]) -> str:
    darkest, brightest = int(values_HW.min()), int(values_HW.max())
    if 0 < brightest <= _MAX_VALUE:
        return f"its brightest value is {brightest} of {MAX_VALUE_16}, as if a file of 16 bits held values of 8"
    return _uniform_doubt(darkest, brightest, of=MAX_VALUE_16)


def _shade(value: int) -> str:
    return {0: "black", _MAX_VALUE: "white"}.get(value, "grey")


def read_mask(path: Path) -> NDArray[np.float32]:
    """Decode a mask upright to float32 weights in [0, 1]; see :func:`read_mask_picture`."""
    return read_mask_picture(path).weights()


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


def _to_grey(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """Return the brightness of a picture of at most 8 bits, and whether it has colours."""
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L")), False
    rgb = image.convert("RGB")
    rgb_HW3 = np.asarray(rgb)
    return np.array(rgb.convert("L")), bool((rgb_HW3.max(axis=2) != rgb_HW3.min(axis=2)).any())
