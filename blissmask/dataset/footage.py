"""Frames of a video, whatever holds it: a video file or a folder of frames. H, W: rows and columns; sizes are (width, height)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.discover import list_files
from blissmask.dataset.names import IMAGE_SUFFIXES
from blissmask.errors import MediaError
from blissmask.media.image import read_image, read_mask, read_size
from blissmask.media.video import read_frames, read_info


def measure(path: Path) -> tuple[tuple[int, int], int]:
    """Return upright size and frame count of a video or a folder of frames, without decoding more than headers.

    Raises:
        MediaError: it cannot be read, or the folder holds no pictures.
    """
    if path.is_dir():
        frames = frame_files(path)
        return read_size(frames[0]), len(frames)
    info = read_info(path)
    return info.size_wh, info.frame_count


def frame_files(folder: Path) -> list[Path]:
    """Return the frames in a folder, sorted by name; raises MediaError when there are none."""
    frames = list_files(folder, IMAGE_SUFFIXES)
    if not frames:
        raise MediaError("the folder holds no frames", where=[folder], fix=f"these are read: {' '.join(sorted(IMAGE_SUFFIXES))}")
    return frames


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
        # Mask videos are grey; the mean of three equal channels is exact, and of nearly equal ones the least surprising.
        yield rgb_HW3.mean(axis=2, dtype=np.float32) / 255


def _chosen(folder: Path, indices: Collection[int]) -> list[Path]:
    files = frame_files(folder)
    beyond = [index for index in indices if index >= len(files)]
    if beyond:
        raise MediaError(f"frame {min(beyond)} is missing, the folder holds {len(files)}", where=[folder])
    return [files[index] for index in sorted(indices)]
