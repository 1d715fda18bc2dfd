"""Read what one cache entry is made from: pixels, control pictures and mask at training size. Runs in worker threads.

F frames, H, W: rows and columns at training size; 3 = RGB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.cachefile import fingerprint
from blissmask.dataset.buckets import area_size
from blissmask.dataset.geometry import Geometry, cover
from blissmask.dataset.item import MaskSource
from blissmask.dataset.pixel_mask import PixelMask, full_mask, moving_mask
from blissmask.errors import MaskError
from blissmask.media.image import Picture, read_image
from blissmask.tasks.cache.planned_entries import Entry
from blissmask.tasks.cache.reading.mask_weights import mask_is_moving, read_still_mask
from blissmask.tasks.cache.reading.video_frames import Footage


@dataclass(frozen=True, slots=True)
class Pixels:
    """What an entry is encoded from.

    Attributes:
        rgb_FHW3: uint8 colours.
        controls: uint8 colours of each control picture, (F, h, w, 3), F 1 for pictures.
        mask: weights at training size; None when the data set has no masks.
        doubt: why the mask may not be what was meant; empty when there is no doubt.
        media_print, mask_print: fingerprints, taken before reading.
        colours: hash of all pixels that are encoded.
    """

    rgb_FHW3: NDArray[np.uint8]
    controls: tuple[NDArray[np.uint8], ...]
    mask: PixelMask | None
    doubt: str
    media_print: str
    mask_print: str
    colours: str


def read_pixels(entry: Entry, footage: Footage | None) -> Pixels:
    """Read everything an entry needs.

    Args:
        entry: what to read.
        footage: what a clip shares with the others of its video; None for pictures.

    Raises:
        MediaError: a file is damaged.
        MaskError: the mask does not fit.
    """
    media_print = footage.media_print if footage else fingerprint.take(entry.item.pixel_paths)
    picture = None if footage else read_image(entry.item.media.path)
    if footage:
        rgb_FHW3 = np.stack(list(footage.rgb.frames(entry.frame_indices)))
        controls = tuple(control.read(entry.frame_indices) for control in footage.controls)
    else:
        assert picture is not None
        rgb_FHW3 = entry.geometry.fit_rgb(picture.rgb_HW3)[np.newaxis]
        controls = _read_controls(entry)
    mask, doubt, mask_print = _read_mask(entry, picture, footage)
    return Pixels(rgb_FHW3, controls, mask, doubt, media_print, mask_print, _hash((rgb_FHW3, *controls)))


def read_mask(entry: Entry, footage: Footage | None) -> tuple[PixelMask | None, str, str]:
    """Read the mask alone; return it with the doubt about it and the fingerprint of its file.

    Arguments as for :func:`read_pixels`.
    """
    return _read_mask(entry, None, footage)


def _hash(arrays: Iterable[NDArray[np.uint8]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read_mask(entry: Entry, picture: Picture | None, footage: Footage | None) -> tuple[PixelMask | None, str, str]:
    mask, doubt, mask_print = _raw_mask(entry, picture, footage)
    if mask is None or mask.weights_fHW.any():
        return mask, doubt, mask_print
    if entry.recipe.empty_mask == "error" and footage:
        # The plan refuses still masks that are empty; those with frames are decoded here for the first time.
        what = f"the mask is zero everywhere in frames {entry.frames}"
        raise MaskError(what, where=[entry.mask_path], fix="mend the mask, or set `--empty-mask full`")
    return full_mask(entry.geometry) if entry.recipe.empty_mask == "full" else mask, doubt, mask_print


def _raw_mask(entry: Entry, picture: Picture | None, footage: Footage | None) -> tuple[PixelMask | None, str, str]:
    if entry.mask_source is None:
        return None, "", ""
    if entry.mask_source is MaskSource.FULL:
        return full_mask(entry.geometry), "", ""
    path = entry.mask_path
    # The fingerprint first: a file that changes while it is read looks changed next time, not fresh.
    if footage is None:
        mask_print = fingerprint.take([path] if path else [])
        return *read_still_mask(entry, picture), mask_print
    mask_print = footage.mask_print
    if path is None or not mask_is_moving(path):
        return *footage.still_mask, mask_print
    indices, stride = entry.frame_indices, entry.recipe.model.family.latent.temporal_stride
    return moving_mask(footage.masks.frames(indices), len(indices), stride), "", mask_print


def _read_controls(entry: Entry) -> tuple[NDArray[np.uint8], ...]:
    pictures = (read_image(path).rgb_HW3 for path in entry.item.control_paths)
    return tuple(_control_geometry(entry, (rgb.shape[1], rgb.shape[0])).fit_rgb(rgb)[np.newaxis] for rgb in pictures)


def _control_geometry(entry: Entry, size_wh: tuple[int, int]) -> Geometry:
    """Return how a control picture is fitted: to the target's size, to its own size of a given area, or only cut to the grid.

    Source: musubi-tuner's ``control_resolution`` and ``no_resize_control``; with both, only larger pictures are shrunk.
    """
    section, grid = entry.recipe.section, entry.recipe.model.family.latent.grid_multiple
    resolution_wh = section.control_resolution
    if entry.recipe.one_frame or (resolution_wh is None and not section.no_resize_control):
        return cover(size_wh, entry.geometry.size_wh)
    is_small = resolution_wh is None or size_wh[0] * size_wh[1] <= resolution_wh[0] * resolution_wh[1]
    if section.no_resize_control and is_small and min(size_wh) >= grid:
        return Geometry(
            size_wh,
            size_wh,
            (size_wh[0] % grid // 2, size_wh[1] % grid // 2),
            (size_wh[0] // grid * grid, size_wh[1] // grid * grid),
        )
    return cover(size_wh, area_size(size_wh, resolution_wh or entry.geometry.size_wh, grid))
