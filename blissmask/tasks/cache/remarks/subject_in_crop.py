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
from blissmask.plurals import counted
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.remarks.remark import Kind, Remark

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
ENOUGH_IN_A_ZOOM = Kind(
    "item",
    f"{_FEW}, and enough in a zoom",
    'set `zoom = ["face"]`, which trains the face a second time from the pixels that the photo has',
)
TOO_FEW_PIXELS = Kind(
    "item",
    f"{_FEW}; the photo itself is too small",
    "use larger originals, in which the face has more pixels, or leave such photos out",
)
_AT_THIS_SIZE = f"{_FEW}, at this resolution"


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
            found = None if across >= LEAST_CELLS else _fault(entry, shown.face, shown.head)
            if isinstance(found, Kind):
                yield _few_cells(entry, across, found)
            elif found is not None:
                larger.append((entry, across, found))
    if larger:
        # The size that is enough for all, so that many photos make one remark.
        width, height = (max(sides[axis] for _, _, sides in larger) for axis in (0, 1))
        kind = Kind("item", _AT_THIS_SIZE, f"set `resolution = [{width}, {height}]` or more")
        for entry, across, _ in larger:
            yield _few_cells(entry, across, kind)


def _few_cells(entry: LatentEntry, across: int, kind: Kind) -> Remark:
    return Remark(kind, entry.item.media.path, f"{entry.item.name}: {across}", f"face of {counted(across, 'cell')}")


def _fault(entry: LatentEntry, face: Box, head: Box) -> Kind | tuple[int, int] | None:
    """Return why a face has few cells, or the resolution that it takes; None where a zoom is on that mends it."""
    possible = [] if entry.is_moving else zooms([("face", head)], entry.geometry, entry.dataset.buckets)
    if not any(_cells(face, zoom.geometry, entry.latent) >= LEAST_CELLS for zoom in possible):
        return _larger(entry, face)
    if "face" in entry.dataset.section.zoom:
        return None
    return ENOUGH_IN_A_ZOOM


def _larger(entry: LatentEntry, face: Box) -> Kind | tuple[int, int]:
    """Return the resolution that a face takes which no zoom helps, where the pixels are there."""
    width = (face.right - face.left) * entry.geometry.source_wh[0]
    needed = LEAST_CELLS * entry.latent.spatial_stride
    if width < needed:
        return TOO_FEW_PIXELS
    scale = needed / (entry.geometry.scale * width)
    step = entry.latent.grid_multiple
    # One decimal: boxes are remembered to a ten-thousandth, which must not cost a whole step.
    width, height = (math.ceil(round(side * scale / step, 1)) * step for side in entry.dataset.section.resolution)
    return width, height


def _cells(face: Box, geometry: Geometry, latent: LatentSpec) -> int:
    """Return how many latent cells a face is wide."""
    return round((face.right - face.left) * geometry.scaled_wh[0] / latent.spatial_stride)
