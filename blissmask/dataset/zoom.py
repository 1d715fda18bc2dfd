"""Zooms: further items of a large photo, cut around the subject or the face. Sizes are (width, height), in pixels.

A small face is a handful of latent cells, from which nobody learns a likeness. A zoom shows it with the pixels that the
photo has, and never with more: it is scaled down or kept, not enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blissmask.config.sections.dataset_section import ZoomKind
from blissmask.dataset.buckets import Buckets
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.item import DatasetItem
from blissmask.masks.sight import Box

SHARES: dict[ZoomKind, float] = {"subject": 0.85, "face": 0.5}
"""Share of the frame that the subject, or the head with its hair, takes along the side that is tighter: a choice.

A portrait has the shoulders in the picture; a frame full of face would teach nothing of what surrounds it.
"""
LEAST_GAIN = 1.5
"""How much larger than in the photo, or in a wider zoom of it, a zoom has to show: a choice.

At less, the same picture would be learned twice.
"""


@dataclass(frozen=True, slots=True)
class Zoom:
    """A part of a photo that is trained as an item of its own.

    Attributes:
        kind: what it is cut around.
        region_wh: size of the part in the photo; the cache file is called by it, so that other trainers find its
            bucket.
        geometry: from the whole photo to the training size.
    """

    kind: ZoomKind
    region_wh: tuple[int, int]
    geometry: Geometry


def zooms(boxes: Sequence[tuple[ZoomKind, Box | None]], photo: Geometry, buckets: Buckets) -> list[Zoom]:
    """Return the zooms that a photo is large enough for.

    Args:
        boxes: what to cut around, the widest first; None where the mask shows none.
        photo: how the photo itself is fitted.
        buckets: the training sizes.
    """
    found: list[Zoom] = []
    widest = photo
    for kind, box in boxes:
        zoom = None if box is None else _zoom(kind, box, photo.source_wh, buckets)
        if zoom is not None and zoom.geometry.scale >= LEAST_GAIN * widest.scale:
            found.append(zoom)
            widest = zoom.geometry
    return found


def zoomed_item(item: DatasetItem, kind: ZoomKind) -> DatasetItem:
    """Return the item of a zoom: the same files, cached under a name of its own."""
    return replace(item, media=replace(item.media, zoom=kind))


def _zoom(kind: ZoomKind, box: Box, source_wh: tuple[int, int], buckets: Buckets) -> Zoom | None:
    """Return the zoom on a box; None where the photo has too few pixels."""
    sizes = [(end - start) * source_wh[axis] for axis, (start, end) in enumerate((box.along(0), box.along(1)))]
    bucket_w, bucket_h = buckets.nearest(sizes[0] / sizes[1])
    # The frame is `bucket` times this, in pixels of the photo; at 1 the photo is kept as it is.
    scale = max(1.0, sizes[0] / SHARES[kind] / bucket_w, sizes[1] / SHARES[kind] / bucket_h)
    scale = min(scale, source_wh[0] / bucket_w, source_wh[1] / bucket_h)
    if scale < 1:
        return None
    region_wh = (int(bucket_w * scale), int(bucket_h * scale))
    fitted = buckets.fit(region_wh)
    if fitted.scaled_wh[0] > region_wh[0]:
        return None
    left, top = (_start(box.along(axis), region_wh[axis], source_wh[axis]) for axis in (0, 1))
    return Zoom(kind, region_wh, _whole(fitted, (left, top), source_wh))


def _start(span: tuple[float, float], length: int, whole: int) -> int:
    """Return where a region begins so that the box is in its middle, as far as the photo reaches."""
    middle = (span[0] + span[1]) / 2 * whole
    return round(min(max(0.0, middle - length / 2), whole - length))


def _whole(fitted: Geometry, left_top: tuple[int, int], source_wh: tuple[int, int]) -> Geometry:
    """Return the geometry of the whole photo that shows the region as ``fitted`` does."""
    scaled, crop = [], []
    for axis in (0, 1):
        factor = fitted.scaled_wh[axis] / fitted.source_wh[axis]
        length = round(source_wh[axis] * factor)
        start = round(left_top[axis] * factor) + fitted.crop_xy[axis]
        scaled.append(length)
        crop.append(min(max(0, start), length - fitted.size_wh[axis]))
    return Geometry(source_wh, (scaled[0], scaled[1]), (crop[0], crop[1]), fitted.size_wh)
