"""Cards of a contact sheet while they wait for the last of them to be drawn: as encoded pictures, a small part of the decoded ones.

The worst come first, so a sheet cannot be written before all its cards are known; of tens of thousands of photos that
are gigabytes. 3 = RGB; sizes are (width, height) in pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blissmask.media.sheet import Card

_QUALITY = 82


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """A picture as WebP."""

    size_wh: tuple[int, int]
    webp: bytes


@dataclass(frozen=True, slots=True)
class PackedCard:
    """A card with its pictures encoded; the fields are those of ``sheet.Card``."""

    name: str
    pictures: tuple[PackedPicture, ...]
    numbers: str
    remarks: tuple[str, ...]
    badness: float


def pack(card: Card, *, lossless: bool) -> PackedCard:
    """Encode the pictures of a card: ``lossless`` to be drawn on a page, else as an HTML page holds them, a seventh of that."""
    pictures = tuple(pack_picture(picture_HW3, lossless=lossless) for picture_HW3 in card.pictures)
    return PackedCard(card.name, pictures, card.numbers, card.remarks, card.badness)


def pack_picture(picture_HW3: NDArray[np.uint8], *, lossless: bool) -> PackedPicture:
    """Encode one picture."""
    buffer = io.BytesIO()
    # Without loss, the least effort: half the size is enough, and more effort takes fifty times as long.
    options = {"lossless": True, "quality": 0, "method": 0} if lossless else {"quality": _QUALITY}
    Image.fromarray(picture_HW3).save(buffer, "WEBP", **options)
    return PackedPicture((picture_HW3.shape[1], picture_HW3.shape[0]), buffer.getvalue())


def unpack(card: PackedCard) -> Card:
    """Decode the pictures of a card that was packed without loss."""
    return Card(
        card.name, tuple(_decode(picture) for picture in card.pictures), card.numbers, card.remarks, card.badness
    )


def in_order(cards: Sequence[PackedCard]) -> list[PackedCard]:
    """Return the cards, worst first, then by name."""
    return sorted(cards, key=lambda card: (-card.badness, card.name))


def _decode(picture: PackedPicture) -> NDArray[np.uint8]:
    bgr_HW3 = cv2.imdecode(np.frombuffer(picture.webp, np.uint8), cv2.IMREAD_COLOR)
    assert bgr_HW3 is not None, "we encoded it ourselves"
    return np.asarray(cv2.cvtColor(bgr_HW3, cv2.COLOR_BGR2RGB), dtype=np.uint8)
