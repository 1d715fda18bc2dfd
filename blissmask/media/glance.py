"""Look at a photo at small size, without its full size in memory twice.

h, w: rows and columns of the small photo, upright; 3 = RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blissmask.masks.weights import MAX_VALUE_16
from blissmask.media.picture_file import opened

_ANIMATED = {"PNG", "WEBP", "AVIF"}
"""Formats whose further frames are an animation; those of an MPO or a HEIF file, as phones write them, are others."""


@dataclass(frozen=True, slots=True)
class Glance:
    """A photo at small size.

    Attributes:
        rgb_hw3: uint8 colours as stored, upright as far as EXIF says, also where alpha is 0.
        hidden_share: share of the photo's pixels whose alpha is below one half, 0..1.
        frame_count: frames of an animation, 1 for photos.
        was_turned: whether EXIF said how the photo lies.
    """

    rgb_hw3: NDArray[np.uint8]
    hidden_share: float
    frame_count: int
    was_turned: bool


def read_glance(path: Path, side: int) -> Glance:
    """Decode a photo upright at small size; a JPEG is decoded at a fraction of its size, in a fraction of the time.

    Args:
        path: the photo.
        side: longer side of the result, at most.

    Raises:
        MediaError: as ``image.read_image``.
    """
    with opened(path) as file:
        frame_count = getattr(file.image, "n_frames", 1) if file.image.format in _ANIMATED else 1
        is_swapped = file.size_wh != file.image.size
        file.image.draft("RGB", (side, side))
        small, hidden_share = _small(file.load(), side)
        height, width = (small.width, small.height) if is_swapped else (small.height, small.width)
        rgb_hw3 = np.empty((height, width, 3), dtype=np.uint8)
        file.as_stored(rgb_hw3)[:] = np.asarray(small.convert("RGB"))
        return Glance(rgb_hw3, hidden_share, frame_count, was_turned=file.orientation != 1)


def _small(image: Image.Image, side: int) -> tuple[Image.Image, float]:
    """Return a decoded photo at small size, which may change ``image``, and the share of it that is hidden."""
    if image.mode.startswith("I"):
        grey_HW = np.asarray(image, dtype=np.float32) * (255 / MAX_VALUE_16)
        return _shrunk(Image.fromarray(np.rint(grey_HW).clip(0, 255).astype(np.uint8)), side), 0.0
    if not image.has_transparency_data:
        return _shrunk(image if image.mode in ("L", "RGB") else image.convert("RGB"), side), 0.0
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    hidden_share = sum(rgba.getchannel("A").histogram()[:128]) / (rgba.width * rgba.height)
    # One channel at a time: Pillow would blacken hidden colours, and copy the whole photo twice.
    return Image.merge("RGB", [_shrunk(rgba.getchannel(name), side) for name in "RGB"]), hidden_share


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """Return ``image``, which is changed, with a longer side of at most ``side``; means of boxes are fast."""
    image.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=2.0)
    return image
