"""Photos that train badly: enlarged much, thumbnails, on their side, the same one twice. Sizes are (width, height)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from blissmask.dataset.geometry import Geometry
from blissmask.media.likeness import Likeness, find_copies
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.remarks.remark import Kind, Remark
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
    "use the originals, or leave these out: they have few pixels to learn from, and the LoRA may draw as coarsely",
)
ON_ITS_SIDE = Kind(
    "photo", "lying sideways, going by a face, and EXIF does not say so", "turn upright in a photo program, and save"
)
TWICE = Kind(
    "photo",
    "seen already in another file, and so learned more often",
    "leave out one of each; `num_repeats` weighs data sets on purpose",
)


def _enlarged_at(resolution_wh: tuple[int, int]) -> Kind:
    """Return the kind of :data:`ENLARGED` for photos that no configuration names yet."""
    return Kind(
        "item",
        f"that would be enlarged more than twice for {pixels_text(resolution_wh)}, a usual training size: the LoRA "
        "would learn the blur",
        "use larger originals, or set a smaller `resolution` in the configuration that `blissmask --starter person` "
        "writes; its `bucket_no_upscale = true` keeps the size",
    )


def size_remarks(
    path: Path, geometry: Geometry, resolution_wh: tuple[int, int], *, is_configured: bool = True
) -> Iterator[Remark]:
    """Yield a remark about a photo that is enlarged more than twice, or trained at less than a quarter of the area.

    Args:
        path: the photo or video.
        geometry: how it is brought to its training size.
        resolution_wh: of its data set.
        is_configured: whether a configuration says so; else it is a usual one.
    """
    sizes = f"{pixels_text(geometry.source_wh)} to {pixels_text(geometry.size_wh)}"
    if geometry.scale > _MUCH:
        kind = ENLARGED if is_configured else _enlarged_at(resolution_wh)
        yield Remark(kind, path, f"{path}: {sizes}", f"enlarged {geometry.scale:.1f} times")
        return
    (width, height), (trained_w, trained_h) = resolution_wh, geometry.size_wh
    if trained_w * trained_h * _MUCH**2 < width * height:
        yield Remark(THUMBNAIL, path, f"{path}: {sizes}", "thumbnail?")


def side_remark(path: Path) -> Remark:
    """Return the remark about a photo that lies on its side; see ``vision.faces.sideways``."""
    return Remark(ON_ITS_SIDE, path, str(path), "on its side?")


def copy_remarks(files: Sequence[ShortPath], likenesses: Sequence[Likeness | None]) -> Iterator[Remark]:
    """Yield a remark about each photo that looks like one before it, in whatever folder.

    Args:
        files: the photos.
        likenesses: of each; None for one that cannot be told from others.
    """
    for position, copy in find_copies(likenesses).items():
        path, first = files[position].path, files[copy.original].path
        mirrored = ", mirrored" if copy.is_mirrored else ""
        yield Remark(TWICE, path, f"{path}: as {first}{mirrored}", f"as {first.name}{mirrored}")
