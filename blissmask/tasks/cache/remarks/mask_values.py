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
DOUBTFUL_ALPHA = Kind(
    "alpha channel",
    "perhaps no mask",
    "put masks there with `blissmask to-alpha`, 255 for what counts most; or leave `alpha_mask` out, and name a "
    "`mask_directory`",
)


def doubt_remark(entry: LatentEntry, doubt: str, *, place: str) -> Remark:
    """Return the remark about a mask, or the alpha channel in its place, that is perhaps not what was meant.

    Args:
        entry: whose mask it is.
        doubt: why.
        place: the file, and its frames where one clip of a video is meant.
    """
    kind = DOUBTFUL if entry.mask_text else DOUBTFUL_ALPHA
    return Remark(kind, entry.item.media.path, f"{place}: {doubt}", f"mask: {doubt}")


def mask_remarks(entries: Iterable[LatentEntry]) -> Iterator[Remark]:
    """Yield remarks about the masks of entries."""
    for entry in entries:
        mask, media = entry.mask_text, entry.item.media.path
        if entry.doubt:
            yield doubt_remark(entry, entry.doubt, place=mask or str(media))
        if not mask:
            continue
        # A fresh entry may have an empty mask that was filled with full weight; the run that filled it named it.
        may_be_filled = entry.dataset.empty_mask == "full" and entry.redo not in (Redo.MASK, Redo.LATENTS)
        if entry.mean_weight == 1.0 and not may_be_filled:
            yield Remark(WHITE, media, mask, "mask white everywhere")
