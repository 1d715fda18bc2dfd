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
    "set `enable_bucket = true`, so that a size of about its shape is chosen, or leave it out",
)
_FEW = f"whose face has fewer than {LEAST_CELLS} latent cells across, too few to learn its likeness"


def subject_remarks(entries: Sequence[LatentEntry]) -> Iterator[Remark]:
    """Yield remarks about the heads and faces of photos; of videos, one clip stands for all."""
    seen: set[Path] = set()
    for entry in entries:
        shown, path = entry.shown, entry.item.media.path
        if shown is None or entry.item.zoom or path in seen:
            continue
        seen.add(path)
        if shown.head is not None and cuts(entry.geometry, shown.head):
            yield Remark(CUT_HEAD, path, entry.item.name, "head cut")
        if shown.head is not None and shown.face is not None:
            yield from _face_remarks(entry, shown.face, shown.head)


def _face_remarks(entry: LatentEntry, face: Box, head: Box) -> Iterator[Remark]:
    across = _cells(face, entry.geometry, entry.latent)
    if across >= LEAST_CELLS:
        return
    possible = [] if entry.is_moving else zooms([("face", head)], entry.geometry, entry.dataset.buckets)
    if not any(_cells(face, zoom.geometry, entry.latent) >= LEAST_CELLS for zoom in possible):
        fix = _larger(entry, face)
    elif "face" in entry.dataset.section.zoom:
        return
    else:
        fix = 'set `zoom = ["face"]`, which trains the face a second time from the pixels that the photo has'
    place = f"{entry.item.name}: {across}"
    yield Remark(Kind("item", _FEW, fix), entry.item.media.path, place, f"face of {counted(across, 'cell')}")


def _larger(entry: LatentEntry, face: Box) -> str:
    """Return the advice for a face that no zoom helps: a larger resolution, where the pixels are there."""
    width = (face.right - face.left) * entry.geometry.source_wh[0]
    needed = LEAST_CELLS * entry.latent.spatial_stride
    if width < needed:
        return "use larger originals, in which the face has more pixels, or leave them out"
    scale = needed / (_scale(entry.geometry) * width)
    step = entry.latent.grid_multiple
    # One decimal: boxes are remembered to a ten-thousandth, which must not cost a whole step.
    sides = [math.ceil(round(side * scale / step, 1)) * step for side in entry.dataset.section.resolution]
    return f"set `resolution = [{sides[0]}, {sides[1]}]` or more"


def _cells(face: Box, geometry: Geometry, latent: LatentSpec) -> int:
    """Return how many latent cells a face is wide."""
    return round((face.right - face.left) * geometry.scaled_wh[0] / latent.spatial_stride)


def _scale(geometry: Geometry) -> float:
    return geometry.scaled_wh[0] / geometry.source_wh[0]
