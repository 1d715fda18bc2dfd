"""Read the mask of one entry: whether it fits the entry, its weights, its frames.

H, W: rows and columns. Sizes are (width, height).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.crop import follow
from blissmask.dataset.frame_source import frame_files, frame_numbers, measure, read_weights
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.item_keys import VIDEO_SUFFIXES
from blissmask.dataset.pixel_mask import PixelMask, mean_weight, several_mask, still_mask, union
from blissmask.errors import MaskError
from blissmask.masks.sight import Sight, see, see_all
from blissmask.masks.tiers import MAX_VALUE
from blissmask.masks.weights import MaskValues, to_weights
from blissmask.media.image import read_image
from blissmask.media.mask_picture import alpha_doubt, class_number_doubt, read_mask_picture
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.cache.shown_subject import ShownSubject
from blissmask.tasks.run.wording import framing_problem

_FRAMES_SEEN = 64
"""Most frames that are looked at to place the window of a video: one a second of a minute. Decoding takes the time."""
_LEAST_WHITE = 250 / MAX_VALUE
"""What is brighter in every pixel is white: codecs change 255 by a few levels."""
_FRAMES_FIX = "make one mask for every frame, e.g. with `blissmask masks`, or use one picture for the whole video"


def has_moving_mask(entry: LatentEntry) -> bool:
    """Return whether the mask of an entry, or that of one of several subjects, has frames of its own."""
    return any(map(_is_moving, entry.mask_files))


def _is_moving(mask: Path) -> bool:
    """Return whether a mask is a video or a folder of frames."""
    return mask.suffix.lower() in VIDEO_SUFFIXES or mask.is_dir()


@dataclass(frozen=True, slots=True)
class MaskLook:
    """What a plan finds out about the mask of an entry.

    Attributes:
        mean_weight: in the window; None for masks with frames of their own.
        doubt: why the values may not be what was meant; empty when there is no doubt.
        geometry: of the entry, with its window placed where the mask decides about it.
        shown: what the mask shows; None where it decides about nothing.
    """

    mean_weight: float | None
    doubt: str
    geometry: Geometry
    shown: ShownSubject | None


def look_at_mask(entry: LatentEntry) -> MaskLook:
    """Check that the mask of an entry fits it, and place the entry's window.

    Of masks with frames of their own the size and the number of frames are checked, and some frames are read: from all
    over the video to place the window, else from its beginning, for values that make no sense.

    Raises:
        MediaError: a file is damaged.
        MaskError: the mask does not fit, see :func:`_refuse_other_frames`.
    """
    section = entry.dataset.section
    if has_moving_mask(entry):
        for path in filter(_is_moving, entry.mask_files):
            _refuse_other_frames(entry, path)
        sight, doubt = _look_at_frames(entry)
        firsts = [read_mask_picture(frame_files(path)[0]).doubt for path in entry.mask_files if path.is_dir()]
        geometry, shown = _placed(entry, sight)
        return MaskLook(None, next(filter(None, firsts), doubt), geometry, shown)
    of_subjects, doubt = _read_still_values(entry, None)
    values_HW = _together(entry, of_subjects)
    sight = None
    if entry.needs_look:
        sight = see(values_HW, entry.dataset.tiers, inverted=section.invert_mask)
    geometry, shown = _placed(entry, sight)
    return MaskLook(mean_weight(values_HW, geometry, inverted=section.invert_mask), doubt, geometry, shown)


def _look_at_frames(entry: LatentEntry) -> tuple[Sight | None, str]:
    """Return what a mask shows in frames from all over the video, where it matters, and the doubt about its values.

    One window serves all clips of a video.
    """
    count = entry.facts.frame_count
    step = max(entry.latent.temporal_stride, -(-count // _FRAMES_SEEN))
    frames = range(0, count, step) if entry.needs_look else range(0, min(count, _FRAMES_SEEN), step)
    tiers, inverted = entry.dataset.tiers, entry.dataset.section.invert_mask
    sights, darkest, brightest = [], 1.0, 0.0
    for of_subjects in _values_of_frames(entry, frames):
        weights_HW = to_weights(_together(entry, of_subjects))
        darkest, brightest = min(darkest, float(weights_HW.min())), max(brightest, float(weights_HW.max()))
        if entry.needs_look:
            sights.append(see(weights_HW, tiers, inverted=inverted))
    doubt = class_number_doubt(round(brightest * MAX_VALUE))
    if darkest > _LEAST_WHITE:
        doubt = "it is white everywhere in the frames that were looked at"
    elif brightest == 0 and frames.stop == count:
        # Class numbers, too, end so in codecs that hold black as 16.
        doubt = "it is black everywhere in the frames that were looked at"
    return (see_all(sights) if sights else None), doubt


def _placed(entry: LatentEntry, sight: Sight | None) -> tuple[Geometry, ShownSubject | None]:
    if sight is None:
        return entry.geometry, entry.shown
    if entry.dataset.section.crop == "centre":
        return entry.geometry, ShownSubject.of(sight)
    return follow(entry.geometry, sight, cell=entry.latent.spatial_stride), ShownSubject.of(sight)


def read_still_mask(entry: LatentEntry, alpha_HW: NDArray[np.uint8] | None = None) -> tuple[PixelMask, str]:
    """Read the alpha channel or the mask picture of an entry; return the mask with the doubt about it.

    Args:
        entry: whose mask.
        alpha_HW: the photo's alpha, where it is decoded already.

    Raises:
        MediaError: a file is damaged.
        MaskError: the mask has another shape, or the alpha channel is gone.
    """
    of_subjects, doubt = _read_still_values(entry, alpha_HW)
    return _fitted(entry, of_subjects), doubt


def read_frame_masks(entry: LatentEntry, indices: Collection[int]) -> Iterator[PixelMask]:
    """Yield the masks of the named frames, in ascending order, each once.

    Args:
        entry: whose mask has frames of its own.
        indices: numbers of frames.

    Raises:
        MediaError: a frame is missing or damaged.
        MaskError: a frame has another shape than the video; names it.
    """
    for index, of_subjects in zip(sorted(set(indices)), _values_of_frames(entry, indices), strict=True):
        for path, values_HW in zip(_files(entry), of_subjects, strict=True):
            if path is not None and values_HW is not None:
                _refuse_framing(path, _size_of(values_HW), entry.geometry, what=f"frame {index} of the mask")
        yield _fitted(entry, of_subjects)


def _files(entry: LatentEntry) -> tuple[Path | None, ...]:
    """Return the mask file of an entry, or those of several subjects, None for one who has none."""
    return entry.subject_files or entry.mask_files


def _values_of_frames(entry: LatentEntry, indices: Collection[int]) -> Iterator[tuple[MaskValues | None, ...]]:
    """Yield the values of each of :func:`_files` in the named frames, in ascending order, each once."""
    return zip(*(_values_of_frames_in(path, indices) for path in _files(entry)), strict=True)


def _values_of_frames_in(path: Path | None, indices: Collection[int]) -> Iterator[MaskValues | None]:
    if path is not None and _is_moving(path):
        return read_weights(path, indices)
    # A subject without frames of its own has one mask for all of them, or none.
    values_HW = None if path is None else read_mask_picture(path).values_HW
    return itertools.repeat(values_HW, len(set(indices)))


def _read_still_values(
    entry: LatentEntry, alpha_HW: NDArray[np.uint8] | None
) -> tuple[tuple[MaskValues | None, ...], str]:
    """Return the values of each of :func:`_files`, or of alpha, in their own size; and the doubt about them."""
    if not entry.mask_files:
        if alpha_HW is None:
            alpha_HW = read_image(entry.item.media.path).alpha_HW
        if alpha_HW is None:
            raise MaskError("the picture lost its alpha channel since it was looked at", where=[entry.item.media.path])
        return (alpha_HW,), alpha_doubt(alpha_HW)
    found: list[MaskValues | None] = []
    doubts = []
    for path in _files(entry):
        if path is None:
            found.append(None)
            continue
        read = read_mask_picture(path)
        _refuse_framing(path, _size_of(read.values_HW), entry.geometry)
        found.append(read.values_HW)
        doubts.append(read.doubt)
    return tuple(found), next(filter(None, doubts), "")


def _together(entry: LatentEntry, of_subjects: Sequence[MaskValues | None]) -> MaskValues:
    """Return the values of an entry's mask, or the union of those of several subjects."""
    _refuse_unequal_sizes(entry, of_subjects)
    there = [values_HW for values_HW in of_subjects if values_HW is not None]
    return union(there, inverted=entry.dataset.section.invert_mask)


def _refuse_unequal_sizes(entry: LatentEntry, of_subjects: Sequence[MaskValues | None]) -> None:
    if len({values_HW.shape for values_HW in of_subjects if values_HW is not None}) > 1:
        raise MaskError(
            "the masks of the subjects have different sizes",
            where=entry.mask_files,
            fix="make them with `blissmask apply`, from one weighted mask",
        )


def _fitted(entry: LatentEntry, of_subjects: Sequence[MaskValues | None]) -> PixelMask:
    """Return the mask of an entry at training size."""
    geometry, tiers, inverted = entry.geometry, entry.dataset.tiers, entry.dataset.section.invert_mask
    if entry.subject_files:
        _refuse_unequal_sizes(entry, of_subjects)
        return several_mask(of_subjects, geometry, tiers, inverted=inverted)
    return still_mask(_together(entry, of_subjects), geometry, tiers, inverted=inverted)


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
