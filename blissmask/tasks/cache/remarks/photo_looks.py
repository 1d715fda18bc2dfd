"""Remarks about what photos show and how large they are trained: animations, cut-outs, and ``tasks.remarks``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from blissmask.dataset.item import MaskSource
from blissmask.plurals import counted
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.remarks import odd_photos
from blissmask.tasks.remarks.remark import Kind, Remark

_HIDDEN = 0.01
"""Share of transparent pixels from which a picture is a cut-out; rounded corners and thin borders hide less."""

ANIMATION = Kind(
    "animation",
    "of which the first frame alone is trained",
    "save as a video what should be trained as a clip, and give it `video_directory`",
)
CUT_OUT = Kind(
    "photo",
    "partly transparent, and the colour that is hidden there is trained",
    "set `alpha_mask = true` to train what is opaque alone, or save without transparency",
)


def size_remarks(entries: Iterable[LatentEntry]) -> Iterator[Remark]:
    """Yield remarks about the sizes of photos and clips."""
    for entry in entries:
        yield from odd_photos.size_remarks(entry.item.media.path, entry.geometry, entry.dataset.section.resolution)


def photo_remarks(entries: Iterable[LatentEntry]) -> Iterator[Remark]:
    """Yield remarks about single photos."""
    for entry in entries:
        look, path = entry.look, entry.item.media.path
        if look is None:
            continue
        if look.frame_count > 1:
            frames = counted(look.frame_count, "frame")
            yield Remark(ANIMATION, path, f"{path}: {frames}", f"first of {frames}")
        # A mask file says on its own what of the hidden part is trained.
        if look.hidden_share >= _HIDDEN and entry.mask_source in (None, MaskSource.FULL):
            yield Remark(CUT_OUT, path, f"{path}: {look.hidden_share:.0%} transparent", "transparent, without a mask")
        if look.on_its_side:
            yield odd_photos.side_remark(path)


def copy_remarks(entries: Sequence[LatentEntry]) -> Iterator[Remark]:
    """Yield a remark about each photo that looks like one before it, in whatever data set."""
    # By their short names: there may be a million.
    looks = {entry.item.media.file: entry.look.likeness for entry in entries if entry.look is not None}
    yield from odd_photos.copy_remarks(list(looks), list(looks.values()))
