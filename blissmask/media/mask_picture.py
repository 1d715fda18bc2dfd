"""Read masks: their values as the file holds them, and what is doubtful about them.

H, W: rows and columns of the upright picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blissmask.masks.weights import MAX_VALUE_16, to_weights
from blissmask.media.picture_file import opened

_MAX_VALUE = 255
_MOST_CLASSES = 32
"""Masks in which nothing is brighter are told of: Sapiens has 28 classes, more than any other set for people."""


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
        doubts += _doubts_about_8_bit(grey_HW, transparent=transparent)
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


def _doubts_about_8_bit(grey_HW: NDArray[np.uint8], *, transparent: bool) -> list[str]:
    darkest, brightest = int(grey_HW.min()), int(grey_HW.max())
    # Whoever drew the mask as an alpha channel filled the colours with one value.
    is_matte = transparent and darkest == brightest
    doubt = class_number_doubt(brightest)
    if not doubt and not is_matte:
        doubt = _uniform_doubt(darkest, brightest)
    doubts = [doubt] if doubt else []
    if transparent:
        rest = f", and the rest is {_shade(brightest)} everywhere" if is_matte else ""
        doubts.append(f"its alpha channel is not used{rest}")
    return doubts


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


def _to_grey(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """Return the brightness of a picture of at most 8 bits, and whether it has colours."""
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L")), False
    rgb = image.convert("RGB")
    rgb_HW3 = np.asarray(rgb)
    return np.array(rgb.convert("L")), bool((rgb_HW3.max(axis=2) != rgb_HW3.min(axis=2)).any())
