"""Read the frames of a clip or of its mask, from a video file or from a folder of pictures.

H, W: rows and columns; sizes are (width, height).
"""

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
from blissmask.media.image import read_image, read_size
from blissmask.media.mask_picture import read_mask
from blissmask.media.video import read_frames, read_info
from blissmask.storage.name_order import by_numbers

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Extent:
    """The size and length of a video or a folder of frames.

    Attributes:
        size_wh: upright size; of a folder, the size of its first frame.
        frame_count: number of frames that can be decoded.
        fps: frames per second; 0 where the video does not state them, None for a folder.
        times: when each frame of an uneven video is shown; see ``media.video.VideoInfo``.
        damaged: numbers of the frames of a video that cannot be decoded.
        hdr: the curve of an HDR video; else empty.
    """

    size_wh: tuple[int, int]
    frame_count: int
    fps: float | None
    times: tuple[float, ...] = ()
    damaged: tuple[int, ...] = ()
    hdr: str = ""


def measure(path: Path) -> Extent:
    """Measure a video or a folder of frames.

    A video is decoded whole, since the number of frames that a container states may be wrong.

    Raises:
        MediaError: the video cannot be read or is cut off, or the folder holds no pictures.
    """
    if path.is_dir():
        frames = frame_files(path)
        return Extent(size_wh=read_size(frames[0]), frame_count=len(frames), fps=None)
    info = read_info(path, count=True)
    return Extent(
        size_wh=info.size_wh,
        frame_count=info.frame_count,
        fps=info.fps,
        times=info.times,
        damaged=info.damaged,
        hdr=info.hdr,
    )


def frame_files(folder: Path) -> list[Path]:
    """Return the frames in a folder in their order.

    Numbers in names count as numbers, so that ``9.png`` comes before ``10.png``.

    Raises:
        MediaError: the folder holds no pictures.
    """
    frames = sorted(list_files(folder, IMAGE_SUFFIXES), key=lambda path: by_numbers(path.name))
    if not frames:
        raise MediaError(
            "the folder holds no frames", where=[folder], fix=f"these are read: {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return frames


def frame_numbers(folder: Path) -> list[int] | None:
    """Return the numbers that name a folder's frames, counted from the first one; None when a name is no number."""
    stems = [path.stem for path in frame_files(folder)]
    if not all(_NUMBER.fullmatch(stem) for stem in stems):
        return None
    return [int(stem) - int(stems[0]) for stem in stems]


def read_rgb(path: Path, indices: Collection[int]) -> Iterator[NDArray[np.uint8]]:
    """Yield the named frames in ascending order, each once, as uint8 RGB (H, W, 3).

    Raises:
        MediaError: a frame is missing or damaged.
    """
    if not path.is_dir():
        yield from read_frames(path, indices)
        return
    for file in _chosen(path, indices):
        yield read_image(file).rgb_HW3


def read_weights(path: Path, indices: Collection[int]) -> Iterator[NDArray[np.float32]]:
    """Yield the named frames of a mask video or a folder of masks in ascending order, each once.

    They are float32 (H, W) in [0, 1].

    Raises:
        MediaError: a frame is missing or damaged.
    """
    if path.is_dir():
        for file in _chosen(path, indices):
            yield read_mask(file)
        return
    for rgb_HW3 in read_frames(path, indices):
        # Mask videos are grey. The mean of three equal channels is exact; where the codec made them differ a little,
        # the mean favours none.
        yield rgb_HW3.mean(axis=2, dtype=np.float32) / 255


def _chosen(folder: Path, indices: Collection[int]) -> list[Path]:
    files = frame_files(folder)
    beyond = [index for index in indices if index >= len(files)]
    if beyond:
        raise MediaError(f"frame {min(beyond)} is missing, the folder holds {len(files)}", where=[folder])
    return [files[index] for index in sorted(set(indices))]
