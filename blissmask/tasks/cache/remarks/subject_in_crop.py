"""Remarks about what the crop shows of the subject: a head that is cut, a face of too few latent cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from blissmask.dataset.crop import cuts
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.zoom import zooms
from blissmask.families.protocol import LatentSpec
from blissmask.masks.sight import Box
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.cache.remarks.remark import Kind, Remark
from blissmask.tasks.run.wording import counted

LEAST_CELLS = 6
"""Latent cells from one side of a face to the other from which its likeness can be learned.

They are 48 pixels in most families. Measured with the embedded recogniser on five photos of three people, brought to
fewer pixels and back: two photos of one person are 0.36 apart; a photo is 0.11 from itself at a face of 48 pixels, 0.22
at 32, 0.30 at 24, and at 20 two photos of one person are as far apart as strangers may be, 0.56.
"""

CUT_HEAD = Kind(
    "photo",
    "whose crop cuts the subject's head",
    "set `enable_bucket = true`, so that a size of about its shape is chosen, or leave out what does not fit",
)
_FEW = f"whose face has fewer than {LEAST_CELLS} latent cells across, too few to learn its likeness"


def subject_remarks(entries: Sequence[LatentEntry]) -> Iterator[Remark]:
    """Yield remarks about the heads and faces of photos; of videos, one clip stands for all."""
    seen: set[Path] = set()
    larger: list[tuple[LatentEntry, int, tuple[int, int]]] = []
    for entry in entries:
        shown, path = entry.shown, entry.item.media.path
        if shown is None or entry.item.zoom or path in seen:
            continue
        seen.add(path)
        if shown.head is not None and cuts(entry.geometry, shown.head):
            yield Remark(CUT_HEAD, path, entry.item.name, "head cut")
        if shown.head is not None and shown.face is not None:
            across = _cells(shown.face, entry.geometry, entry.latent)
            fix = "" if across >= LEAST_CELLS else _fix(entry, shown.face, shown.head)
            if isinstance(fix, tuple):
                larger.append((entry, across, fix))
            elif fix:
                yield _few_cells(entry, across, fix)
    if larger:
        # The size that is enough for all, so that many photos make one remark.
        width, height = (max(sides[axis] for _, _, sides in larger) for axis in (0, 1))
        for entry, across, _ in larger:
            yield _few_cells(entry, across, f"set `resolution = [{width}, {height}]` or more")


def _few_cells(entry: LatentEntry, across: int, fix: str) -> Remark:
    place = f"{entry.item.name}: {across}"
    return Remark(Kind("item", _FEW, fix), entry.item.media.path, place, f"face of {counted(across, 'cell')}")


def _fix(entry: LatentEntry, face: Box, head: Box) -> str | tuple[int, int]:
    """Return what mends a face of few cells: words, or the resolution that it takes; nothing where a zoom is on."""
    possible = [] if entry.is_moving else zooms([("face", head)], entry.geometry, entry.dataset.buckets)
    if not any(_cells(face, zoom.geometry, entry.latent) >= LEAST_CELLS for zoom in possible):
        return _larger(entry, face)
    if "face" in entry.dataset.section.zoom:
        return ""
    return 'set `zoom = ["face"]`, which trains the face a second time from the pixels that the photo has'


def _larger(entry: LatentEntry, face: Box) -> str | tuple[int, int]:
    """Return the resolution that a face takes which no zoom helps, where the pixels are there."""
    width = (face.right - face.left) * entry.geometry.source_wh[0]
    needed = LEAST_CELLS * entry.latent.spatial_stride
    if width < needed:
        return "use larger originals, in which the face has more pixels, or leave them out"
    scale = needed / (entry.geometry.scale * width)
    step = entry.latent.grid_multiple
    # One decimal: boxes are remembered to a ten-thousandth, which must not cost a whole step.
    width, height = (math.ceil(round(side * scale / step, 1)) * step for side in entry.dataset.section.resolution)
    return width, height


def _cells(face: Box, geometry: Geometry, latent: LatentSpec) -> int:
    """Return how many latent cells a face is wide."""
    return round((face.right - face.left) * geometry.scaled_wh[0] / latent.spatial_stride)
