"""What a contact sheet shows: a card per item, and the text above the cards.

A card is packed, i.e. its pictures are encoded, until the last one is drawn: the order is known only then, and the
decoded cards of tens of thousands of photos would take gigabytes of memory. H, W: rows and columns of the photo as it
is shown; h, w: of the latent grid; 3 = RGB. Sizes are (width, height) in pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blissmask.media.overlay import Colour
from blissmask.storage.name_order import NameOrder, by_numbers

_QUALITY = 78
"""WebP quality of photos in an HTML page, where they are seen at up to a thousand pixels: 0.1 bytes a pixel, measured
on the photos in tests/photos."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A fact about an item.

    Attributes:
        text: what stands on the card: "face 12.0%".
        name: what cards are sorted by; empty for facts that do not sort.
        value: its number; None where this item has none.
    """

    text: str
    name: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Badness:
    """How early a card comes on a sheet, the worst first: by its worst remark, then by the number of the sheet.

    Attributes:
        remark: of its worst remark, higher is worse; 0 without a remark.
        number: of the item, higher is worse; ``SheetText.worst`` says what it is.
    """

    remark: float = 0.0
    number: float = 0.0

    @property
    def worst_first(self) -> tuple[float, float]:
        """Return what sorts the worst to the front."""
        return -self.remark, -self.number


@dataclass(frozen=True, slots=True)
class Card:
    """One item of a contact sheet.

    Attributes:
        name: the file's name.
        photo_HW3: the photo, or the part of it that is trained, as large as it is shown.
        labels_HW: what each pixel is: 0 is darkened, n has the n-th colour of ``SheetText.legend``, and
            ``overlay.PLAIN`` shows the photo as it is.
        weights_hw: mask weights on the latent grid, 0..1.
        measures: facts, in the order of the line below the pictures.
        remarks: what is wrong with the item, worst first; empty when nothing is.
        badness: sorts the sheet, higher first.
        caption: its caption; None where it has none.
    """

    name: str
    photo_HW3: NDArray[np.uint8]
    labels_HW: NDArray[np.uint8]
    weights_hw: NDArray[np.float32]
    measures: tuple[Measure, ...] = ()
    remarks: tuple[str, ...] = ()
    badness: Badness = Badness()
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What a page is told of an item besides its pictures; ``size_wh`` is that of its photo, all else as in Card."""

    name: str
    size_wh: tuple[int, int]
    measures: tuple[Measure, ...]
    remarks: tuple[str, ...]
    caption: str | None


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """A picture: WebP, or values as :func:`deflate_values` packs them."""

    size_wh: tuple[int, int]
    data: bytes


@dataclass(frozen=True, slots=True)
class PackedCard:
    """A card with its three pictures encoded, as the format of the sheet needs them; all else as in :class:`Card`."""

    name: str
    pictures: tuple[PackedPicture, PackedPicture, PackedPicture]
    measures: tuple[Measure, ...]
    remarks: tuple[str, ...]
    badness: Badness
    caption: str | None

    @property
    def numbers(self) -> str:
        """Return the line below the pictures: "face 12% · hair 5% · body 40%"."""
        return numbers_line(self.measures)

    @property
    def facts(self) -> ItemFacts:
        """Return all but the pictures."""
        return ItemFacts(self.name, self.pictures[0].size_wh, self.measures, self.remarks, self.caption)


@dataclass(frozen=True, slots=True)
class SheetText:
    """What stands above the cards.

    Attributes:
        title: e.g. "Weighted masks, 412 items".
        columns: what the pictures of a card are: photo, photo with its labels, and latent grid; photo and latent grid
            where there are no labels to show.
        legend: name and colour of each label, from 1.
        worst: what comes first among items without a remark, and among those with the same one: "most cut away".
    """

    title: str
    columns: tuple[str, str, str] | tuple[str, str]
    legend: tuple[tuple[str, Colour], ...] = ()
    worst: str = ""

    @property
    def pictures(self) -> tuple[int, ...]:
        """Return which pictures of a card are shown."""
        return (0, 1, 2) if len(self.columns) == 3 else (0, 2)


def numbers_line(measures: Sequence[Measure]) -> str:
    """Return facts as one line."""
    return " · ".join(measure.text for measure in measures)


def pack_card(card: Card, pictures: tuple[PackedPicture, PackedPicture, PackedPicture]) -> PackedCard:
    """Return a card whose pictures are encoded as ``pictures``."""
    return PackedCard(card.name, pictures, card.measures, card.remarks, card.badness, card.caption)


def pack_photo(rgb_HW3: NDArray[np.uint8]) -> PackedPicture:
    """Encode a photo with loss that is not seen."""
    return _pack(rgb_HW3, quality=_QUALITY)


def deflate_values(values_HW: NDArray[np.uint8]) -> PackedPicture:
    """Pack labels or grey values for a page: width and height in 16 bits, little-endian, and a byte a pixel, deflated.

    Not as a picture: browsers that guard against fingerprinting (Brave, Firefox in private windows) change pixels that
    a page reads back.
    """
    height, width = values_HW.shape
    return PackedPicture((width, height), zlib.compress(struct.pack("<HH", width, height) + values_HW.tobytes(), 9))


def pack_drawing(values: NDArray[np.uint8]) -> PackedPicture:
    """Encode grey values or a drawing without loss."""
    # The least effort: it halves the size already, and more effort takes fifty times as long.
    return _pack(values, lossless=True, quality=0, method=0)


def in_order(cards: Sequence[PackedCard]) -> list[PackedCard]:
    """Return the cards, worst first, then by name."""
    return sorted(cards, key=lambda card: place_of(card.badness, card.name))


def place_of(badness: Badness, name: str) -> tuple[tuple[float, float], NameOrder]:
    """Return what a sheet is sorted by: the worst comes first, and equals go by name."""
    return badness.worst_first, by_numbers(name)


def _pack(values: NDArray[np.uint8], **options: int | bool) -> PackedPicture:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "WEBP", **options)
    height, width = values.shape[:2]
    return PackedPicture((width, height), buffer.getvalue())
