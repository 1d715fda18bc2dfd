"""Read the mask of one entry: whether it fits the entry, its weights, its frames.

H, W: rows and columns. Sizes are (width, height).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.frame_source import frame_files, frame_numbers, measure, read_weights
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.item_keys import VIDEO_SUFFIXES
from blissmask.dataset.pixel_mask import PixelMask, mean_weight, still_mask
from blissmask.errors import MaskError
from blissmask.masks.weights import MaskValues
from blissmask.media.image import read_image, read_mask_picture
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.run.wording import framing_problem

_FRAMES_FIX = "make one mask for every frame, e.g. with `blissmask masks`, or use one picture for the whole video"


def mask_is_moving(path: Path) -> bool:
    """Return whether a mask has frames of its own: a video or a folder."""
    return path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir()


def look_at_mask(entry: LatentEntry) -> tuple[float | None, str]:
    """Check that the mask of an entry fits it; return its mean weight, and the doubt about its values.

    Of masks with frames of their own the size and the number of frames are checked; the mean weight is None. Of a
    folder of them, the first frame stands for the others where values are doubtful.

    Raises:
        MediaError: a file is damaged.
        MaskError: the mask does not fit, see :func:`_refuse_other_frames`.
    """
    path = entry.mask_file
    if path is not None and mask_is_moving(path):
        _refuse_other_frames(entry, path)
        return None, read_mask_picture(frame_files(path)[0]).doubt if path.is_dir() else ""
    values_HW, doubt = _read_still_values(entry, None)
    return mean_weight(values_HW, entry.geometry, inverted=entry.dataset.section.invert_mask), doubt


def read_still_mask(entry: LatentEntry, alpha_HW: NDArray[np.uint8] | None = None) -> tuple[PixelMask, str]:
    """Read the alpha channel or the mask picture of an entry; return the mask with the doubt about it.

    Args:
        entry: whose mask.
        alpha_HW: the photo's alpha, where it is decoded already.

    Raises:
        MediaError: a file is damaged.
        MaskError: the mask has another shape, or the alpha channel is gone.
    """
    values_HW, doubt = _read_still_values(entry, alpha_HW)
    dataset = entry.dataset
    return still_mask(values_HW, entry.geometry, dataset.tiers, inverted=dataset.section.invert_mask), doubt


def read_frame_masks(entry: LatentEntry, mask: Path, indices: Collection[int]) -> Iterator[PixelMask]:
    """Yield the masks of the named frames, in ascending order, each once.

    Args:
        entry: whose mask.
        mask: its mask file, one with frames of its own.
        indices: numbers of frames.

    Raises:
        MediaError: a frame is missing or damaged.
        MaskError: a frame has another shape than the video; names it.
    """
    geometry, dataset = entry.geometry, entry.dataset
    for index, weights_HW in zip(sorted(set(indices)), read_weights(mask, indices), strict=True):
        _refuse_framing(mask, _size_of(weights_HW), geometry, what=f"frame {index} of the mask")
        yield still_mask(weights_HW, geometry, dataset.tiers, inverted=dataset.section.invert_mask)


def _read_still_values(entry: LatentEntry, alpha_HW: NDArray[np.uint8] | None) -> tuple[MaskValues, str]:
    """Return the values of the mask in its own size, and the doubt about them."""
    path = entry.mask_file
    if path is None:
        if alpha_HW is None:
            alpha_HW = read_image(entry.item.media.path).alpha_HW
        if alpha_HW is None:
            raise MaskError("the picture lost its alpha channel since it was looked at", where=[entry.item.media.path])
        return alpha_HW, ""
    read = read_mask_picture(path)
    _refuse_framing(path, _size_of(read.values_HW), entry.geometry)
    return read.values_HW, read.doubt


def _refuse_other_frames(entry: LatentEntry, path: Path) -> None:
    """Refuse a mask whose frames cannot be those of the video: they are paired by their numbers alone.

    Raises:
        MaskError: it is of a picture, or has another shape, another number of frames, or numbers that leave out others
            than the video's.
    """
    media = entry.item.media.path
    if not entry.is_moving:
        raise MaskError(
            "the mask of a picture is a video or a folder", where=[path], fix="give the picture one mask picture"
        )
    extent = measure(path)
    _refuse_framing(path, extent.size_wh, entry.geometry)
    if extent.frame_count != entry.facts.frame_count:
        what = f"the mask has {extent.frame_count} frames, the video {entry.facts.frame_count}"
        raise MaskError(what, where=[path, media], fix=_FRAMES_FIX)
    numbers = frame_numbers(path) if path.is_dir() else None
    theirs = frame_numbers(media) if media.is_dir() else list(range(extent.frame_count))
    if numbers is not None and theirs is not None and numbers != theirs:
        first = next(
            position for position, (one, other) in enumerate(zip(numbers, theirs, strict=True)) if one != other
        )
        before, after = (file.name for file in frame_files(path)[first - 1 : first + 1])
        raise MaskError(
            f"frames of the mask are missing: {before} is followed by {after}", where=[path, media], fix=_FRAMES_FIX
        )


def _refuse_framing(path: Path, mask_wh: tuple[int, int], geometry: Geometry, *, what: str = "mask") -> None:
    if problem := framing_problem("image", geometry.source_wh, what, mask_wh):
        raise MaskError(problem, where=[path], fix="make the mask from this picture, at any size with the same shape")


def _size_of(values_HW: MaskValues) -> tuple[int, int]:
    return values_HW.shape[1], values_HW.shape[0]
