"""Frames of a video, whatever holds it: a video file or a folder of frames. H, W: rows and columns; sizes are (width, height)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.discover import list_files
from blissmask.dataset.item_keys import IMAGE_SUFFIXES
from blissmask.errors import MediaError
from blissmask.media.image import read_image, read_mask, read_size
from blissmask.media.video import read_frames, read_info

_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class Extent:
    """How large and how long footage is.

    Attributes:
        size_wh: upright size; of a folder, that of its first frame.
        frame_count: frames that can be decoded.
        fps: frames per second, 0 where the video does not say; None for a folder, which has no rate.
        stated_count: frames that the container states; they may be more, see ``media.video.VideoInfo``.
    """

    size_wh: tuple[int, int]
    frame_count: int
    fps: float | None
    stated_count: int


def measure(path: Path) -> Extent:
    """Measure a video or a folder of frames.

    A video is decoded whole, since no container can be trusted about the number of its frames.

    Raises:
        MediaError: it cannot be read, or the folder holds no pictures.
    """
    if path.is_dir():
        frames = frame_files(path)
        return Extent(read_size(frames[0]), len(frames), None, len(frames))
    info = read_info(path, count=True)
    return Extent(info.size_wh, info.frame_count, info.fps, info.stated_count)


def frame_files(folder: Path) -> list[Path]:
    """Return the frames in a folder in their order; raises MediaError when there are none.

    Numbers in names count as numbers, so that ``9.png`` comes before ``10.png``.
    """
    frames = sorted(list_files(folder, IMAGE_SUFFIXES), key=lambda path: _in_order(path.name))
    if not frames:
        raise MediaError(
            "the folder holds no frames", where=[folder], fix=f"these are read: {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return frames


def frame_numbers(folder: Path) -> list[int] | None:
    """Return the numbers that the frames of a folder are called by, counted from the first one; None when a name is no number."""
    stems = [path.stem for path in frame_files(folder)]
    if not all(_DIGITS.fullmatch(stem) for stem in stems):
        return None
    return [int(stem) - int(stems[0]) for stem in stems]


def read_rgb(path: Path, indices: Collection[int]) -> Iterator[NDArray[np.uint8]]:
    """Yield the named frames in ascending order as uint8 RGB (H, W, 3).

    Raises:
        MediaError: a frame is missing or damaged.
    """
    if not path.is_dir():
        yield from read_frames(path, indices)
        return
    for file in _chosen(path, indices):
        yield read_image(file).rgb_HW3


def read_weights(path: Path, indices: Collection[int]) -> Iterator[NDArray[np.float32]]:
    """Yield the named frames of a mask video or of a folder of masks in ascending order, as float32 weights (H, W) in [0, 1].

    Raises:
        MediaError: a frame is missing or damaged.
    """
    if path.is_dir():
        for file in _chosen(path, indices):
            yield read_mask(file)
        return
    for rgb_HW3 in read_frames(path, indices):
        # Mask videos are grey; the mean of three equal channels is exact, and of nearly equal ones the least
        # surprising.
        yield rgb_HW3.mean(axis=2, dtype=np.float32) / 255


def _chosen(folder: Path, indices: Collection[int]) -> list[Path]:
    files = frame_files(folder)
    beyond = [index for index in indices if index >= len(files)]
    if beyond:
        raise MediaError(f"frame {min(beyond)} is missing, the folder holds {len(files)}", where=[folder])
    return [files[index] for index in sorted(indices)]


def _in_order(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return what sorts names with their numbers as numbers; texts and numbers take turns, so that like is compared with like."""
    parts = _DIGITS.split(name)
    return tuple(int(part) if position % 2 else part for position, part in enumerate(parts)), name
