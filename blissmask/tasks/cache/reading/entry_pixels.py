"""Read what one cache entry is made from: pixels, control pictures and mask at training size.

The functions run in worker threads.

F frames, H, W: rows and columns at training size; 3 = RGB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blissmask.cachefile import fingerprint
from blissmask.dataset.buckets import area_size
from blissmask.dataset.geometry import Geometry, cover
from blissmask.dataset.item import MaskSource
from blissmask.dataset.pixel_mask import PixelMask, full_mask, moving_mask
from blissmask.errors import MaskError
from blissmask.media.image import read_image
from blissmask.tasks.cache.empty_masks import way_out
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.cache.reading.mask_weights import has_moving_mask, read_still_mask
from blissmask.tasks.cache.reading.video_frames import SharedVideo


@dataclass(frozen=True, slots=True)
class MaskReading:
    """The mask of one entry, as it was read.

    Attributes:
        mask: weights at training size; None when the data set has no masks.
        doubt: why the mask may not be what was meant; empty when there is no doubt.
        fingerprint: of the mask file, taken before reading; empty when there is none.
    """

    mask: PixelMask | None
    doubt: str = ""
    fingerprint: str = ""

    @property
    def mean_weight(self) -> float | None:
        """Return the mean weight; None without a mask."""
        return None if self.mask is None else self.mask.mean_weight


@dataclass(frozen=True, slots=True)
class Pixels:
    """What an entry is encoded from.

    Attributes:
        rgb_FHW3: uint8 colours.
        controls: uint8 colours of each control picture, (F, h, w, 3), F 1 for pictures.
        reading: the mask.
        media_print: fingerprint of the media, taken before reading.
        colours: hash of all pixels that are encoded.
    """

    rgb_FHW3: NDArray[np.uint8]
    controls: tuple[NDArray[np.uint8], ...]
    reading: MaskReading
    media_print: str
    colours: str


def read_pixels(entry: LatentEntry, video: SharedVideo | None) -> Pixels:
    """Read everything an entry needs.

    Args:
        entry: what to read.
        video: what a clip shares with the others of its video; None for pictures.

    Raises:
        MediaError: a file is damaged.
        MaskError: the mask does not fit.
    """
    if video is None:
        # The fingerprint first: a file that changes while it is read looks changed next time, not fresh.
        media_print = fingerprint.take(entry.item.pixel_paths)
        rgb_FHW3, alpha_HW = _read_photo(entry)
        controls = _read_controls(entry)
        reading = _filled(entry, _read_picture_mask(entry, alpha_HW))
    else:
        media_print = video.media_print
        rgb_FHW3 = np.stack(list(video.rgb.frames(entry.frame_indices)))
        controls = tuple(control.read(entry.frame_indices) for control in video.controls)
        reading = read_mask(entry, video)
    return Pixels(
        rgb_FHW3=rgb_FHW3,
        controls=controls,
        reading=reading,
        media_print=media_print,
        colours=_hash((rgb_FHW3, *controls)),
    )


def _read_photo(entry: LatentEntry) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return the colours at training size, (1, H, W, 3), and alpha at the photo's own size."""
    picture = read_image(entry.item.media.path)
    return entry.geometry.fit_rgb(picture.rgb_HW3)[np.newaxis], picture.alpha_HW


def read_mask(entry: LatentEntry, video: SharedVideo | None) -> MaskReading:
    """Read the mask alone. Arguments and errors as for :func:`read_pixels`."""
    if video is None:
        return _filled(entry, _read_picture_mask(entry, None))
    reading = _read_clip_mask(entry, video)
    if entry.dataset.empty_mask == "error" and reading.mask is not None and not reading.mask.weights_fHW.any():
        # The plan refuses still masks that are empty; masks with frames are decoded here for the first time.
        what = f"the mask is zero everywhere in frames {entry.frames}"
        raise MaskError(what, where=entry.mask_files, fix=way_out(entry.dataset))
    return _filled(entry, reading)


def _filled(entry: LatentEntry, reading: MaskReading) -> MaskReading:
    """Return full weight instead of a mask that is zero everywhere, where the user wants that."""
    if reading.mask is None or reading.mask.weights_fHW.any() or entry.dataset.empty_mask != "full":
        return reading
    return replace(reading, mask=full_mask(entry.geometry))


def _read_picture_mask(entry: LatentEntry, alpha_HW: NDArray[np.uint8] | None) -> MaskReading:
    """Read the one mask of an entry; ``alpha_HW`` is the photo's alpha where it is decoded already."""
    if not entry.has_mask:
        return _without_mask(entry)
    mask_print = fingerprint.take(entry.mask_files)
    mask, doubt = read_still_mask(entry, alpha_HW)
    return MaskReading(mask, doubt, mask_print)


def _read_clip_mask(entry: LatentEntry, video: SharedVideo) -> MaskReading:
    if not entry.has_mask:
        return _without_mask(entry)
    mask_print = video.mask_print
    if not has_moving_mask(entry):
        mask, doubt = video.still_mask
        return MaskReading(mask, doubt, mask_print)
    indices = entry.frame_indices
    mask = moving_mask(video.masks.frames(indices), len(indices), entry.latent.temporal_stride)
    return MaskReading(mask, fingerprint=mask_print)


def _without_mask(entry: LatentEntry) -> MaskReading:
    return MaskReading(full_mask(entry.geometry) if entry.mask_source is MaskSource.FULL else None)


def _hash(arrays: Iterable[NDArray[np.uint8]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read_controls(entry: LatentEntry) -> tuple[NDArray[np.uint8], ...]:
    pictures = (read_image(path).rgb_HW3 for path in entry.item.control_paths)
    return tuple(_control_geometry(entry, (rgb.shape[1], rgb.shape[0])).fit_rgb(rgb)[np.newaxis] for rgb in pictures)


def _control_geometry(entry: LatentEntry, size_wh: tuple[int, int]) -> Geometry:
    """Return how a control picture is fitted.

    It takes the target's size, cut at the same place if it has the target's shape; or its own shape in a given area, or
    its own size cut to the grid.

    Source: musubi-tuner's ``control_resolution`` and ``no_resize_control``; with both, only larger pictures are shrunk.
    """
    section, grid = entry.dataset.section, entry.latent.grid_multiple
    resolution_wh = section.control_resolution
    if entry.dataset.one_frame or (resolution_wh is None and not section.no_resize_control):
        return entry.geometry.for_companion(size_wh)
    is_small = resolution_wh is None or size_wh[0] * size_wh[1] <= resolution_wh[0] * resolution_wh[1]
    if section.no_resize_control and is_small and min(size_wh) >= grid:
        left_top = (size_wh[0] % grid // 2, size_wh[1] % grid // 2)
        cut_wh = (size_wh[0] // grid * grid, size_wh[1] // grid * grid)
        return Geometry(size_wh, size_wh, left_top, cut_wh)
    return cover(size_wh, area_size(size_wh, resolution_wh or entry.geometry.size_wh, grid))
