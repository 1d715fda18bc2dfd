"""Show what `apply` kept and what it removed: the subject's tiers over the photo, and bystanders in another colour.

Of a clip, the middle one of its masks is shown. H, W: rows and columns.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.discover import find_media, media_of_mask
from blissmask.dataset.item import MediaFile
from blissmask.dataset.item_keys import VIDEO_SUFFIXES, folder_key, item_key
from blissmask.errors import Problem
from blissmask.masks.tiers import TierTable
from blissmask.masks.weights import to_weights
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_grey, read_mask_picture
from blissmask.media.overlay import BYSTANDER_COLOUR, TIER_COLOURS, fit_size, latent_grid, shrink, tier_labels
from blissmask.media.png import read_note
from blissmask.media.sheets.card import Badness, Card, Measure, SheetText
from blissmask.media.video import read_frames
from blissmask.plurals import counted
from blissmask.tasks.mask_files.contact_sheet import caption_beside, draw_sheet, tier_legend
from blissmask.tasks.run.plan import PlannedItem, RunContext, places_of

_BYSTANDER = len(TIER_COLOURS) + 1
"""The label of pixels whose weight was removed."""


@dataclass(frozen=True, slots=True)
class Photos:
    """The photos and videos that masks were made of.

    Attributes:
        by_name: by file name, as notes of masks remember it.
        by_key: by key, for masks without a note; of a Live Photo, its photo.
    """

    by_name: Mapping[str, Path]
    by_key: Mapping[str, Path]

    def of(self, item: PlannedItem) -> Path | None:
        """Return the photo or video of a mask, or of the mask of a clip's frame; None where there is none."""
        weighted = item.inputs[0]
        named = self.by_name.get(media_of_mask(read_note(weighted)))
        key = folder_key(weighted.parent) if is_frame(item) else item_key(weighted.name)
        return named or self.by_key.get(key)


def find_photos(folder: Path | None) -> Photos:
    """Return the photos and videos of a folder; none without a folder.

    Raises:
        InputError: the folder cannot be read or holds none.
    """
    if folder is None:
        return Photos({}, {})
    found: list[MediaFile] = find_media(folder, videos=True, shared="one mask", live_photos=True)
    # Photos come last, so that the key of a Live Photo is that of its photo.
    ordered = sorted(found, key=_photos_last)
    return Photos({file.path.name: file.path for file in found}, {file.key: file.path for file in ordered})


def _photos_last(file: MediaFile) -> bool:
    return file.path.suffix.lower() not in VIDEO_SUFFIXES


def without_photo(photos: Photos, items: Sequence[PlannedItem]) -> list[Problem]:
    """Warn of masks that the sheet shows without their photo; an empty list when there are none."""
    lone = [item.inputs[0] for item in shown_items(items) if photos.of(item) is None]
    if not lone:
        return []
    fix = "name their folder with `--input`"
    return [Problem(f"no photo for {counted(len(lone), 'mask')} on the contact sheet", places_of(lone), fix)]


def is_frame(item: PlannedItem) -> bool:
    """Return whether an item is the mask of one frame of a clip."""
    return "/" in item.key


def shown_items(items: Sequence[PlannedItem]) -> list[PlannedItem]:
    """Return the masks of photos, and of each clip the mask in the middle."""
    photos = [item for item in items if not is_frame(item)]
    clips: dict[Path, list[PlannedItem]] = {}
    for item in items:
        if is_frame(item):
            clips.setdefault(item.inputs[0].parent, []).append(item)
    return [*photos, *(frames[len(frames) // 2] for frames in clips.values())]


def write_apply_sheet(
    sheet: Path,
    items: Sequence[PlannedItem],
    photos: Photos,
    tiers: TierTable,
    context: RunContext,
    *,
    training_area: int,
) -> None:
    """Write the sheet; an item that cannot be read is named and left out.

    Args:
        sheet: the file.
        items: finished items.
        photos: what the masks were made of.
        tiers: the values that masks were made with.
        context: as ``contact_sheet.draw_sheet`` takes it.
        training_area: pixels of a training picture, for the latent grid.

    Raises:
        InputError, MachineError, StoppedError: as ``contact_sheet.draw_sheet``.
    """
    shown = shown_items(items)
    legend = (*tier_legend(tiers), ("somebody else, removed", BYSTANDER_COLOUR))
    title, columns = f"Subject alone, {counted(len(shown), 'item')}", ("photo", "kept and removed", "latent grid")
    text = SheetText(title, columns, legend, worst="most removed")
    card_of = functools.partial(_card, photos=photos, tiers=tiers, area=training_area)
    draw_sheet(sheet, shown, card_of, text, context, name=_key_of)


def _key_of(item: PlannedItem) -> str:
    return item.key


def _card(item: PlannedItem, side: int, *, photos: Photos, tiers: TierTable, area: int) -> Card:
    weighted, kept_HW = read_mask_picture(item.inputs[0]), read_grey(item.target)
    before_HW = weighted.to_grey()
    photo = photos.of(item)
    rgb_HW3 = np.repeat(before_HW[..., None], 3, axis=2) if photo is None else _picture(photo, item)
    shown_wh = fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (side, side))
    labels_HW = tier_labels(before_HW, shown_wh, tiers)
    labels_HW[(labels_HW > 0) & (tier_labels(kept_HW, shown_wh, tiers) == 0)] = _BYSTANDER
    before, after = float(before_HW.mean()) / 255, float(kept_HW.mean()) / 255
    removed = 1 - after / before if before else 0.0
    remarks, badness = _remarks(item, after, weighted.doubt)
    return Card(
        name=item.inputs[0].name if photo is None else photo.name,
        photo_HW3=shrink(rgb_HW3, shown_wh),
        labels_HW=labels_HW,
        weights_hw=latent_grid(to_weights(kept_HW), area),
        measures=(
            Measure(f"{removed:.1%} removed", "removed", removed),
            Measure(f"mean weight {after:.3f} left", "mean weight left", after),
        ),
        remarks=remarks,
        badness=Badness(badness, number=removed),
        caption=None if photo is None else caption_beside(photo),
    )


def _picture(photo: Path, item: PlannedItem) -> NDArray[np.uint8]:
    if photo.suffix.lower() not in VIDEO_SUFFIXES:
        return read_image(photo).rgb_HW3
    stem = item.inputs[0].stem
    number = int(stem) if is_frame(item) and stem.isdecimal() else 0
    return next(read_frames(photo, [number]))


def _remarks(item: PlannedItem, after: float, doubt: str) -> tuple[tuple[str, ...], float]:
    """Return what is wrong with a mask, worst first, and how bad the worst of it is."""
    found = {}
    if after == 0:
        found["came out empty"] = 3.0
    if len(item.inputs) == 1:
        found["no subject mask"] = 2.0
    if doubt:
        found[doubt] = 1.0
    return tuple(found), max(found.values(), default=0.0)
