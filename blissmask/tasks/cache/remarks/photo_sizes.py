"""Remarks about sizes: photos and clips that are enlarged much, and thumbnails. Sizes are (width, height)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.cache.remarks.remark import Kind, Remark
from blissmask.tasks.run.wording import pixels_text

_MUCH = 2.0
"""A photo enlarged by more than this has a quarter of the pixels that are trained; the rest is Lanczos' guess."""

ENLARGED = Kind(
    "item",
    "enlarged more than twice: the LoRA learns the blur",
    "use larger originals, or set a smaller `resolution`; `bucket_no_upscale = true` keeps the size",
)
THUMBNAIL = Kind(
    "item",
    "far smaller than the training resolution, as thumbnails are",
    "use the originals, or leave the rest out; patches of thumbnails are small, and the LoRA may learn to draw such",
)


def size_remarks(entries: Iterable[LatentEntry]) -> Iterator[Remark]:
    """Yield remarks about photos that are enlarged more than twice, or trained at less than a quarter of the area."""
    for entry in entries:
        geometry, path = entry.geometry, entry.item.media.path
        sizes = f"{pixels_text(geometry.source_wh)} to {pixels_text(geometry.size_wh)}"
        if geometry.scale > _MUCH:
            yield Remark(ENLARGED, path, f"{path}: {sizes}", f"enlarged {geometry.scale:.1f} times")
            continue
        width, height = entry.dataset.section.resolution
        trained_w, trained_h = geometry.size_wh
        if trained_w * trained_h * _MUCH**2 < width * height:
            yield Remark(THUMBNAIL, path, f"{path}: {sizes}", "thumbnail?")
