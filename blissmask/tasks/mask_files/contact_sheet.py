"""Make contact sheets: of finished masks, read back with their photos, or of any items that can be drawn as cards."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from blissmask.config.model import Config
from blissmask.config.sections.mask_sections import ApplySection, InstanceSection, MasksSection
from blissmask.config.sections.model_section import CacheSection
from blissmask.dataset.captions.caption_file import DEFAULT_EXTENSION, caption_path, read_caption
from blissmask.dataset.item_keys import VIDEO_SUFFIXES
from blissmask.errors import BlissmaskError, InputError, Problem, UsageError
from blissmask.events import Noted, Warned
from blissmask.masks.tiers import TierTable
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_mask_picture
from blissmask.media.overlay import TIER_COLOURS, Colour, fit_size, latent_grid, shrink
from blissmask.media.sheets.card import Badness, Card, Measure, PackedCard, SheetText
from blissmask.media.sheets.html_page import is_html_sheet, pack_for_html, side_for, write_html
from blissmask.media.sheets.png_pages import BOX, is_sheet, letters_missing, pack_for_png, write_png_pages
from blissmask.media.video import read_frames, read_info
from blissmask.plurals import counted
from blissmask.processes import this_process
from blissmask.storage.content import without_links
from blissmask.tasks.mask_files.clips import frame_path
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.workers import work_through

ItemT = TypeVar("ItemT")
SectionT = TypeVar("SectionT", MasksSection, InstanceSection, ApplySection, CacheSection)

LabelsOf = Callable[[NDArray[np.uint8], tuple[int, int]], NDArray[np.uint8]]
"""Turns a mask (H, W) into labels of the size (width, height) at which the photo is shown; see ``sheets.card.Card``."""

CardOf = Callable[[ItemT, int], Card]
"""Makes the card of an item, its photo fitted into a square of so many pixels; a BlissmaskError leaves it out."""

_SUFFIXES = (".png", ".html", ".htm")

NEARLY_EMPTY = 0.01
"""Masks on less than this share of the picture get the remark "nearly empty" on a sheet. A round number."""


@dataclass(frozen=True, slots=True)
class SheetEntry:
    """A finished item to show.

    Attributes:
        name: what stands under its pictures.
        media: photo or video.
        mask: its mask, or for a clip the folder of its frames' masks.
        measures, remarks, badness: as in ``sheets.card.Card``.
    """

    name: str
    media: Path
    mask: Path
    measures: tuple[Measure, ...]
    remarks: tuple[str, ...]
    badness: Badness


def with_own_sheet(options: SectionT) -> SectionT:
    """Return the options with the contact sheet that this process writes; see ``Processes.own_file``."""
    if options.sheet is None:
        return options
    return options.model_copy(update={"sheet": this_process().own_file(options.sheet)})


def check_sheet(sheet: Path | None, folders: Sequence[Path]) -> None:
    """Refuse a contact sheet that cannot be written or would get in the way.

    Args:
        sheet: the file to be; None when no sheet is wanted.
        folders: folders of photos and masks, where a picture would be taken for one of them.

    Raises:
        UsageError: the format is not one there is, another file stands there, or it would stand among photos or masks.
    """
    if sheet is None:
        return
    suffix = sheet.suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(f"a contact sheet ends in .png or .html, not in `{sheet.suffix}`", where=[sheet])
    if sheet.exists() and not (is_sheet(sheet) if suffix == ".png" else is_html_sheet(sheet)):
        raise UsageError(
            "a file that is not a contact sheet of blissmask has that name",
            where=[sheet],
            fix="choose another `--sheet`",
        )
    if suffix == ".png" and without_links(sheet.parent) in {without_links(folder) for folder in folders}:
        raise UsageError(
            "the contact sheet would be taken for a photo or a mask", where=[sheet], fix="write it into another folder"
        )


def write_contact_sheet(
    sheet: Path,
    entries: Sequence[SheetEntry],
    text: SheetText,
    labels_of: LabelsOf,
    context: RunContext,
    *,
    training_area: int,
) -> None:
    """Write the sheet; an item that cannot be read any more is named and left out.

    Args:
        sheet: the file; its suffix is the format.
        entries: what is shown.
        text: what stands above the cards.
        labels_of: turns a mask into labels.
        context: progress, threads and the signal to stop.
        training_area: pixels of a training picture, for the latent grid.

    Raises:
        MachineError, StoppedError: as ``workers.work_through``.
    """
    card = functools.partial(card_of_mask, labels_of=labels_of, area=training_area)
    draw_sheet(sheet, entries, card, text, context, name=_name_of)


def _name_of(entry: SheetEntry) -> str:
    return entry.name


def draw_sheet(
    sheet: Path,
    items: Sequence[ItemT],
    card_of: CardOf[ItemT],
    text: SheetText,
    context: RunContext,
    *,
    name: Callable[[ItemT], str],
) -> None:
    """Draw a card per item in several threads and write them as PNG pages or one HTML page.

    An item that cannot be read is named in a warning.

    Args:
        sheet: the file; its suffix says which.
        items: what is shown.
        card_of: makes the card of one of them.
        text: what stands above them.
        context: progress, threads and the signal to stop.
        name: what an item is called in progress.

    Raises:
        InputError: a file that is not a sheet of ours has the name of a page.
        MachineError, StoppedError: as ``workers.work_through``.
    """
    in_pages, further = sheet.suffix.lower() == ".png", ""
    cards: list[PackedCard] = []
    if in_pages:
        draw = functools.partial(_for_png, card_of, colours=tuple(colour for _, colour in text.legend))
    else:
        draw = functools.partial(_for_html, card_of, side=side_for(len(items)))
    for _, outcome in work_through(items, draw, context, phase="Drawing", total=len(items), name=name):
        if isinstance(outcome, BlissmaskError):
            context.reporter.emit(Warned(outcome.as_one()))
        else:
            cards.append(outcome)
    if in_pages:
        pages = write_png_pages(sheet, cards, text)
        further = f" and {counted(len(pages) - 1, 'more page')}" if len(pages) > 1 else ""
        if missing := letters_missing(cards):
            context.reporter.emit(Warned(_without_font(missing)))
    else:
        write_html(sheet, cards, text)
    context.reporter.emit(Noted(f"contact sheet -> {sheet}{further}"))


def _without_font(letters: Sequence[str]) -> Problem:
    """Say which letters are boxes on a sheet; the first ten are named."""
    named = "".join(letters[:10]) + ("…" if len(letters) > 10 else "")
    return Problem(
        f"no font of this machine has {counted(len(letters), 'letter')} of the contact sheet: {named}",
        fix="install one that has them, such as those of Noto, or write the sheet as `.html`",
    )


def _for_png(card_of: CardOf[ItemT], item: ItemT, *, colours: Sequence[Colour]) -> PackedCard:
    """Make and pack one card, in the same thread, so that only packed ones wait."""
    return pack_for_png(card_of(item, 2 * BOX), colours)


def _for_html(card_of: CardOf[ItemT], item: ItemT, *, side: int) -> PackedCard:
    return pack_for_html(card_of(item, side))


def tier_legend(tiers: TierTable) -> tuple[tuple[str, Colour], ...]:
    """Return name and value of each tier with its colour, for the top of a sheet."""
    return tuple((f"{tier.value} {tiers.value(tier)}", colour) for tier, colour in TIER_COLOURS.items())


_SIZE_WITHOUT_DATASET_WH = (1024, 1024)
"""The training picture of a sheet for which nothing names a size: `masks --input FOLDER` without a configuration.

A dataset that names none is trained at ``config.sections.dataset_section.DEFAULT_RESOLUTION``.
"""


def training_area(config: Config) -> int:
    """Return the pixels of a training picture: of the first data set, of [general], or of the default resolution."""
    resolution_wh = config.datasets[0].resolution if config.datasets else size_without_dataset(config)
    return math.prod(resolution_wh)


def size_without_dataset(config: Config) -> tuple[int, int]:
    """Return the training size of photos that belong to no data set."""
    return config.general.resolution or _SIZE_WITHOUT_DATASET_WH


def card_of_mask(entry: SheetEntry, side: int, *, labels_of: LabelsOf, area: int) -> Card:
    """Make the card of a finished mask; see :data:`CardOf`.

    Args:
        entry: the item.
        side: pixels of the square that the photo is fitted into.
        labels_of: turns its mask into labels.
        area: pixels of a training picture.

    Raises:
        MediaError: the photo or the mask cannot be read.
    """
    rgb_HW3, mask_path = _picture_of(entry)
    size_wh = fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (side, side))
    shown_HW3 = shrink(rgb_HW3, size_wh)
    # A large photo and its weights need not be in memory together.
    del rgb_HW3
    mask = read_mask_picture(mask_path)
    return Card(
        name=entry.name,
        photo_HW3=shown_HW3,
        labels_HW=labels_of(mask.to_grey(), size_wh),
        weights_hw=latent_grid(mask.weights(), area),
        measures=entry.measures,
        remarks=entry.remarks,
        badness=entry.badness,
        caption=caption_beside(entry.media),
    )


def caption_beside(media: Path) -> str | None:
    """Return the caption in the text file beside a photo or video; None where there is none.

    A file that is no caption shows why: the commands that make masks do not use it, and `cache` refuses it.
    """
    path = caption_path(media, DEFAULT_EXTENSION)
    if not path.exists():
        return None
    try:
        return read_caption(path)
    except InputError as error:
        return f"({error.as_one().what})"


def _picture_of(entry: SheetEntry) -> tuple[NDArray[np.uint8], Path]:
    """Return the photo, or the middle frame of a video, and the mask that belongs to it."""
    if entry.media.suffix.lower() not in VIDEO_SUFFIXES:
        return read_image(entry.media).rgb_HW3, entry.mask
    middle = read_info(entry.media, count=True).frame_count // 2
    rgb_HW3 = next(read_frames(entry.media, [middle]))
    return rgb_HW3, frame_path(entry.mask, middle) if entry.mask.is_dir() else entry.mask
