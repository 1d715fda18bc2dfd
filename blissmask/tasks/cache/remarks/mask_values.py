"""Remarks about masks whose values make no sense: white everywhere, class numbers, a matte in the wrong channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from blissmask.cachefile.redo import Redo
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.remarks.remark import Kind, Remark

WHITE = Kind(
    "mask file",
    "white everywhere, so nothing is masked",
    "make the masks again with `blissmask masks`, or leave out the files of items that are to be trained whole",
)
DOUBTFUL = Kind("mask", "perhaps not what was meant", "use 8-bit grey PNG masks, 255 for what counts most")


def mask_remarks(entries: Iterable[LatentEntry]) -> Iterator[Remark]:
    """Yield remarks about the masks of entries."""
    for entry in entries:
        mask, media = entry.mask_text, entry.item.media.path
        if entry.doubt:
            yield Remark(DOUBTFUL, media, f"{mask or media}: {entry.doubt}", f"mask: {entry.doubt}")
        if not mask:
            continue
        # A fresh entry may have an empty mask that was filled with full weight; the run that filled it named it.
        may_be_filled = entry.dataset.empty_mask == "full" and entry.redo not in (Redo.MASK, Redo.LATENTS)
        if entry.mean_weight == 1.0 and not may_be_filled:
            yield Remark(WHITE, media, mask, "mask white everywhere")
