"""The masks that are being retouched: what the page is shown of them, and what it changes.

A page paints on a smaller picture than the mask. It sends which pixels it touched and what they became, and only
these change in the mask; all others keep their exact values. It paints on the mask as it was when the item was opened
(the base), so that undoing everything gives back the very file.

Every change says which file it expects to replace. Where another page or program wrote in between, it is refused.
H, W: rows and columns; 3 = RGB. Sizes are (width, height) in pixels.
"""

from __future__ import annotations

import functools
import hashlib
import math
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.captions.caption_file import DEFAULT_EXTENSION, caption_path, read_caption
from blissmask.errors import ChangedError, InputError, MediaError
from blissmask.masks.resize import resize_labels
from blissmask.masks.weights import to_weights
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_grey
from blissmask.media.overlay import fit_size, latent_grid, shrink
from blissmask.media.png import read_note, write_png_grey
from blissmask.media.sheets.card import Badness, ItemFacts, Measure, PackedPicture, deflate_values, pack_photo
from blissmask.media.sheets.html_page import pack_grid
from blissmask.storage import atomic
from blissmask.storage.limits import MOST_CAPTION, MOST_MASK, refuse_larger
from blissmask.storage.ordinary import read_bytes
from blissmask.storage.seen import State, input_state
from blissmask.tasks.mask_files.contact_sheet import caption_beside
from blissmask.tasks.mask_files.output_notes import keep_copy_of

SIDE = 1536
"""Longer side of the picture that is painted on. Where it is trained at this size, a latent cell is 8 of its pixels."""
CARD_SIDE = 416
"""Longer side of the photo on a card: twice what is seen, for screens with two pixels per point."""
UNTOUCHED = 255
"""Stands for a pixel that was not painted on, in what the page sends; labels are far below."""
LEFT_OUT = 254
"""Stands for a pixel with the value 0, which no label need have: a background may be given another value."""
_PHOTOS_KEPT = 256
"""Photos that are kept as they are shown, 30 to 200 kB each: a stroke shows its item anew, and decoding is slow."""
NO_FILE = "none"
"""The version of a mask that does not exist."""

LabelsOf = Callable[[NDArray[np.uint8], tuple[int, int]], NDArray[np.uint8]]
"""Takes the grey values of a mask and a size (width, height), returns the labels at that size."""


@dataclass(frozen=True, slots=True)
class RetouchItem:
    """A photo and its mask, which need not exist yet; ``size_wh`` is that of the upright photo."""

    key: str
    photo: Path
    mask: Path
    size_wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Described:
    """What a page says of a mask; fields as in ``sheets.card.Card``."""

    measures: tuple[Measure, ...]
    remarks: tuple[str, ...]
    badness: Badness


_WORST = Badness(remark=5.0)
"""Of an item without a mask that can be read; above the usual ones of masks, so that it comes early."""
NO_MASK = Described((), ("no mask",), _WORST)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is painted.

    Attributes:
        values: the grey value of each label, from 0, which is the background.
        labels_of: turns a mask into labels at a size.
        describe: says what a mask is like.
    """

    values: tuple[int, ...]
    labels_of: LabelsOf
    describe: Callable[[RetouchItem], Described]


@dataclass(frozen=True, slots=True)
class Shown:
    """Photo, labels and latent grid of an item, the version of the mask that they show, and the caption."""

    pictures: tuple[PackedPicture, PackedPicture, PackedPicture]
    version: str
    caption: str | None


class Desk:
    """The items and their files; methods may be called from several threads.

    Args:
        items: what can be retouched; pages name an item by its position here.
        kind: what is painted.
        folder: an empty folder of our own, for the bases of masks.
        training_area: pixels of a training picture, for the latent grid.

    Attributes:
        captioned: positions of the items whose captions were changed.
        turn: held while a mask or caption is compared and replaced, so that nothing is written in between.
    """

    def __init__(self, items: Sequence[RetouchItem], kind: Kind, folder: Path, *, training_area: int) -> None:
        self.items, self.kind = items, kind
        self.captioned: set[int] = set()
        self._folder, self._area = folder, training_area
        self._copied: set[Path] = set()
        # What pages were shown of each item, in order: what they name is compared with it, and never becomes a path.
        self._versions: dict[int, list[str]] = {}
        self._now: dict[int, str] = {}
        self.turn = threading.RLock()

    @property
    def retouched(self) -> list[int]:
        """Return the items whose masks are others than when they were first shown."""
        return sorted(number for number, version in self._now.items() if version != self._versions[number][0])

    def item(self, number: int) -> RetouchItem:
        """Return an item by its position.

        Raises:
            InputError: there is no such item.
        """
        if not 0 <= number < len(self.items):
            raise InputError(f"there is no item {number}")
        return self.items[number]

    def described(self, number: int) -> Described:
        """Return what is said of the mask of an item as it is now; of one that cannot be read, why."""
        try:
            return self.kind.describe(self.items[number])
        except InputError as error:
            return Described((), (error.as_one().what,), _WORST)

    def facts(self, number: int, described: Described) -> ItemFacts:
        """Return what the page is told about an item before it is drawn."""
        item = self.items[number]
        caption = caption_beside(item.photo)
        return ItemFacts(item.photo.name, item.size_wh, described.measures, described.remarks, caption)

    def pictures(self, number: int, *, side: int) -> Shown:
        """Return photo, labels and latent grid of an item.

        Args:
            number: its position.
            side: longer side of the photo; with :data:`SIDE`, the mask that is shown becomes a base.

        Raises:
            InputError: there is no such item.
            ChangedError: its photo has another size than when the run began.
            MediaError: its photo or mask cannot be read.
        """
        item = self.item(number)
        photo = _packed_photo(item.photo, side, input_state(item.photo))
        if photo.size_wh != fit_size(item.size_wh, (side, side)):
            raise ChangedError(
                "the photo has another size than when this run began; end the run and start it again",
                where=[item.photo],
            )
        with self.turn:
            version = self._remember(number)
            grey_HW = self._grey(number, version)
        labels = deflate_values(self.kind.labels_of(grey_HW, photo.size_wh))
        grid = pack_grid(latent_grid(to_weights(grey_HW), self._area))
        return Shown((photo, labels, grid), version, caption_beside(item.photo))

    def grid(self, number: int) -> PackedPicture:
        """Return the latent grid of a mask as it is now."""
        with self.turn:
            grey_HW = self._grey(number, self._remember(number))
        return pack_grid(latent_grid(to_weights(grey_HW), self._area))

    def save_mask(self, number: int, edits: bytes, *, base: str, expected: str) -> str:
        """Change a mask as a page painted it, and return its new version.

        Args:
            number: the item.
            edits: a byte for each pixel of the shown photo, deflated: a label, or :data:`UNTOUCHED`.
            base: the version that was painted on.
            expected: the version that is replaced.

        Raises:
            ChangedError: the mask is another one by now, or the base is not one that a page was shown.
            InputError: the edits are not what a page sends.
            MediaError, MachineError: a file cannot be read or written; the mask is as it was.
        """
        item = self.item(number)
        with self.turn:
            self.refuse_changed(item, expected)
            if base not in self._versions.get(number, ()):
                raise ChangedError("the mask was shown by an earlier run; open the item again", where=[item.mask])
            edits_HW = self._inflated(item, edits)
            self.keep_copy(item.mask)
            if (edits_HW == UNTOUCHED).all():
                self._restore(number, base)
            else:
                self._write(number, base, edits_HW)
            return self._remember(number)

    def save_caption(self, number: int, text: str, *, expected: str | None) -> None:
        """Write the caption of a photo.

        Args:
            number: the item.
            text: the caption; white space around it does not count.
            expected: the caption that is replaced; None where there was none.

        Raises:
            ChangedError: the caption is another one by now.
            InputError: the text is too long or is no text.
            MachineError: it cannot be written.
        """
        item = self.item(number)
        path = caption_path(item.photo, DEFAULT_EXTENSION)
        try:
            content = text.strip().encode() + b"\n"
        except UnicodeEncodeError as error:
            raise InputError("the caption is not text", where=[path]) from error
        if len(content) > MOST_CAPTION:
            raise InputError(f"the caption is longer than {MOST_CAPTION:,} bytes", where=[path])
        with self.turn:
            there = read_caption(path) if path.exists() else None
            if there != expected:
                raise ChangedError("the caption was changed by another page or program", where=[path])
            if there is not None:
                self.keep_copy(path)
            atomic.write_bytes(path, content)
            self.captioned.add(number)

    def refuse_changed(self, item: RetouchItem, expected: str) -> None:
        """Raise ChangedError when the mask of an item is not the one that a page expects to replace."""
        if _version_of(_content(item.mask)) != expected:
            raise ChangedError("the mask was changed by another page or program", where=[item.mask])

    def keep_copy(self, path: Path) -> None:
        """Keep a copy of a file as it was before this run first replaces it."""
        if path not in self._copied and path.is_file() and not path.is_symlink():
            keep_copy_of(path)
        self._copied.add(path)

    def written(self, number: int) -> str:
        """Return the version of a mask that was just written, which pages may paint on from now on."""
        return self._remember(number)

    def _remember(self, number: int) -> str:
        """Keep the content of a mask as a base, and return its version."""
        content = _content(self.items[number].mask)
        version = self._now[number] = _version_of(content)
        shown = self._versions.setdefault(number, [])
        if version not in shown:
            shown.append(version)
            if content is not None:
                self._base(number, version).write_bytes(content)
        return version

    def _base(self, number: int, version: str) -> Path:
        return self._folder / f"{number}-{version}.png"

    def _grey(self, number: int, version: str) -> NDArray[np.uint8]:
        if version == NO_FILE:
            width, height = self.items[number].size_wh
            return np.full((height, width), self.kind.values[0], np.uint8)
        try:
            return read_grey(self._base(number, version))
        except MediaError as error:
            # The base is a copy of ours in a temporary folder; what is damaged is the mask.
            problem = error.as_one()
            raise MediaError(problem.what, where=[self.items[number].mask], fix=problem.fix) from error

    def _inflated(self, item: RetouchItem, edits: bytes) -> NDArray[np.uint8]:
        """Return what a page sent; never more is inflated than the picture has pixels."""
        width, height = fit_size(item.size_wh, (SIDE, SIDE))
        try:
            # One byte more, so that too many are seen.
            inflated = zlib.decompressobj().decompress(edits, width * height + 1)
        except zlib.error as error:
            raise InputError("the page sent edits that are damaged") from error
        if len(inflated) != width * height:
            raise InputError("the page sent edits of another size than its picture")
        edits_HW = np.frombuffer(inflated, np.uint8).reshape(height, width)
        if not np.isin(edits_HW, [*range(len(self.kind.values)), LEFT_OUT, UNTOUCHED]).all():
            raise InputError("the page sent values that are no labels")
        return edits_HW

    def _write(self, number: int, base: str, edits_HW: NDArray[np.uint8]) -> None:
        item = self.items[number]
        grey_HW = self._grey(number, base).copy()
        labels_HW = resize_labels(edits_HW, (grey_HW.shape[1], grey_HW.shape[0]))
        touched_HW = labels_HW != UNTOUCHED
        # Zeros from the last label on: what is left out becomes 0.
        value_of = np.zeros(UNTOUCHED, np.uint8)
        value_of[: len(self.kind.values)] = self.kind.values
        grey_HW[touched_HW] = value_of[labels_HW[touched_HW]]
        note = None if base == NO_FILE else read_note(self._base(number, base))
        write_png_grey(item.mask, grey_HW, note=None if note is None else note.content, edited=True)

    def _restore(self, number: int, base: str) -> None:
        mask = self.items[number].mask
        if base == NO_FILE:
            mask.unlink(missing_ok=True)
        else:
            atomic.write_bytes(mask, read_bytes(self._base(number, base)))


@functools.lru_cache(maxsize=_PHOTOS_KEPT)
def _packed_photo(photo: Path, side: int, state: State) -> PackedPicture:
    """Return a photo as a page shows it; ``state`` is that of its file, since one that changed is read again."""
    rgb_HW3 = read_image(photo).rgb_HW3
    return pack_photo(shrink(rgb_HW3, fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (side, side))))


def _version_of(content: bytes | None) -> str:
    if content is None:
        return NO_FILE
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _content(path: Path) -> bytes | None:
    """Return what is in a mask's file; None where there is none."""
    if not path.is_file():
        return None
    try:
        refuse_larger(path, MOST_MASK)
        return read_bytes(path)
    except OSError as error:
        raise InputError(f"the mask cannot be read: {error.strerror or error}", where=[path]) from error


def most_bytes_of_edits(item: RetouchItem) -> int:
    """Return how large edits can be: a byte a pixel that does not shrink, and what deflating adds, 0.03 percent."""
    pixels = math.prod(fit_size(item.size_wh, (SIDE, SIDE)))
    return pixels + pixels // 1000 + 1000
