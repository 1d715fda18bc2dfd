"""What the clips of one video share while they are cached: one pass over its frames, one reading of each fingerprint.

H, W: rows and columns at training size; 3 = RGB.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blissmask.cachefile import fingerprint
from blissmask.dataset.frame_source import measure, read_rgb
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.pixel_mask import PixelMask
from blissmask.dataset.shared_frames import SharedFrames
from blissmask.errors import MediaError
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.cache.reading.mask_weights import read_frame_masks, read_still_mask
from blissmask.tasks.run.wording import pixels_text

Rgb: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Job:
    """An entry to read, with what it shares with the other clips of its video; None for pictures."""

    entry: LatentEntry
    video: SharedVideo | None


class SharedVideo:
    """The frames of a video, its controls and its mask, for all clips that are made in one run.

    Nothing is opened before it is asked for.

    Args:
        entries: clips of one video; one at least.

    Attributes:
        rgb: the frames as uint8 RGB (H, W, 3) at training size.
        controls: the control videos in their order.
        masks: the masks of single frames, for a mask that has frames of its own.
    """

    def __init__(self, entries: Sequence[LatentEntry]) -> None:
        self._entry = entries[0]
        clips = [entry.frame_indices for entry in entries]
        item, geometry = self._entry.item, self._entry.geometry
        self.rgb = _rgb_frames(item.media.path, geometry, clips)
        self.controls = tuple(ControlClip(path, geometry, clips) for path in item.control_paths)
        self.masks = SharedFrames(self._read_masks, clips)

    def _read_masks(self, wanted: Collection[int]) -> Iterator[PixelMask]:
        if self._entry.mask_files:
            yield from read_frame_masks(self._entry, wanted)

    @cached_property
    def still_mask(self) -> tuple[PixelMask, str]:
        """Return the one mask of all clips and the doubt about it. Raises MediaError or MaskError."""
        return read_still_mask(self._entry)

    @cached_property
    def media_print(self) -> str:
        """Return the fingerprint of the video and its controls, as they were before the first clip was read."""
        return fingerprint.take(self._entry.item.pixel_paths)

    @cached_property
    def mask_print(self) -> str:
        """Return the fingerprint of the mask files or folders before the first clip was read; empty without any."""
        return fingerprint.take(self._entry.mask_files)


class ControlClip:
    """A control video; where it is shorter than the clips, its last frame is repeated, as in musubi-tuner.

    Args:
        path: the video or folder of frames.
        geometry: of the video.
        clips: the frame numbers of each clip.
    """

    def __init__(self, path: Path, geometry: Geometry, clips: Sequence[Sequence[int]]) -> None:
        self._path, self._geometry, self._clips = path, geometry, clips
        self._lock = threading.Lock()
        self._opened: tuple[SharedFrames[Rgb], int] | None = None

    def read(self, indices: Sequence[int]) -> Rgb:
        """Return the frames of one of the clips as uint8 (F, H, W, 3); raises MediaError when one is damaged."""
        with self._lock:
            self._opened = self._opened or self._open()
        shared, frame_count = self._opened
        there = _up_to(frame_count, indices)
        frames = list(shared.frames(there))
        return np.stack(frames + [frames[-1]] * (len(indices) - len(there)))

    def _open(self) -> tuple[SharedFrames[Rgb], int]:
        extent = measure(self._path)
        clips = [_up_to(extent.frame_count, clip) for clip in self._clips]
        return _rgb_frames(self._path, self._geometry.for_companion(extent.size_wh), clips), extent.frame_count


def _up_to(frame_count: int, indices: Sequence[int]) -> list[int]:
    """Return the frames that a video of ``frame_count`` has; all that lie beyond its end become one, its last."""
    return sorted({min(index, frame_count - 1) for index in indices})


def with_shared_videos(entries: Sequence[LatentEntry]) -> Iterator[Job]:
    """Yield the entries; the clips of one video follow each other in the order in which a single pass finishes them."""
    for _, group in groupby(entries, key=lambda entry: (entry.dataset.number, entry.item.media.path)):
        together = list(group)
        if not together[0].is_moving:
            yield from (Job(entry, None) for entry in together)
            continue
        together.sort(key=lambda entry: entry.frame_indices[-1])
        video = SharedVideo(together)
        yield from (Job(entry, video) for entry in together)


def _rgb_frames(path: Path, geometry: Geometry, clips: Sequence[Sequence[int]]) -> SharedFrames[Rgb]:
    def read(wanted: Collection[int]) -> Iterator[Rgb]:
        for index, rgb_HW3 in zip(sorted(set(wanted)), read_rgb(path, wanted), strict=True):
            size_wh = (rgb_HW3.shape[1], rgb_HW3.shape[0])
            if size_wh != geometry.source_wh:
                what = f"frame {index} is {pixels_text(size_wh)}, the first one {pixels_text(geometry.source_wh)}"
                raise MediaError(what, where=[path], fix="bring all frames to one size")
            yield geometry.fit_rgb(rgb_HW3)

    return SharedFrames(read, clips)
