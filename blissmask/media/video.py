"""Read and write videos: the one place where they are decoded and encoded, through OpenCV's FFmpeg.

The rotation that phones write beside the frames is applied. H, W: rows and columns of the upright frame; 3 = RGB. Sizes are
(width, height).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.errors import MachineError, MediaError
from blissmask.storage import atomic

# FFmpeg and OpenCV would write their own complaints between our lines; what fails is reported by us.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

_Capture: TypeAlias = cv2.VideoCapture  # noqa: TID251

_CODECS = ("vp09", "mp4v")
_COUNT_TOLERANCE = 0.02
"""Containers without a frame index state a duration, from which the frame count is estimated; this much less is still whole."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video says of itself.

    Attributes:
        size_wh: upright size.
        frame_count: as the container states it; exact for MP4, an estimate for others.
        fps: frames per second.
    """

    size_wh: tuple[int, int]
    frame_count: int
    fps: float


def read_info(path: Path) -> VideoInfo:
    """Read size, frame count and rate without decoding more than the first frame.

    Frames are counted one by one where the container does not state their number.

    Raises:
        MediaError: the file is missing, no video, or damaged.
    """
    with _opened(path) as capture:
        size_wh = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        frame_count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        if min(size_wh) <= 0:
            raise MediaError("the video has no picture", where=[path])
        return VideoInfo(size_wh, frame_count if frame_count > 0 else _count(capture), fps)


def read_frames(path: Path, indices: Collection[int] | None = None) -> Iterator[NDArray[np.uint8]]:
    """Decode frames in order, upright, as uint8 RGB of shape (H, W, 3); one at a time, so memory does not grow with the length.

    Args:
        path: the video.
        indices: numbers of the frames wanted, counted from 0; None for all.

    Raises:
        MediaError: the file is missing, no video, or breaks off before the last frame wanted; names the frame.
    """
    wanted = None if indices is None else frozenset(indices)
    last = None if wanted is None else max(wanted, default=-1)
    with _opened(path) as capture:
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        number = 0
        while last is None or number <= last:
            if not capture.grab():
                break
            if wanted is None or number in wanted:
                yield _retrieve(capture, number, path)
            number += 1
        _refuse_short(path, number, stated if last is None else None, last)


def write_mp4(path: Path, rgb_FHW3: NDArray[np.uint8], *, fps: float) -> None:
    """Publish an MP4 that browsers play (VP9; MPEG-4 where OpenCV's FFmpeg has no VP9).

    Args:
        path: the file; its folder is created.
        rgb_FHW3: frames, uint8.
        fps: frames per second.

    Raises:
        MachineError: there is no encoder, the disk is full or the folder cannot be written; nothing is left behind.
    """
    height, width = rgb_FHW3.shape[1:3]
    # FFmpeg takes the format from the name, and a file that is being published has another one.
    with tempfile.TemporaryDirectory() as scratch:
        video = Path(scratch, "video.mp4")
        writers = (cv2.VideoWriter(str(video), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height)) for codec in _CODECS)  # noqa: TID251
        writer = next((writer for writer in writers if writer.isOpened()), None)
        if writer is None:
            raise MachineError("OpenCV has no encoder for MP4 here", where=[path], fix="install `opencv-python-headless` from PyPI")
        for rgb_HW3 in rgb_FHW3:
            writer.write(cv2.cvtColor(rgb_HW3, cv2.COLOR_RGB2BGR))
        writer.release()
        atomic.write_bytes(path, video.read_bytes())


def _retrieve(capture: _Capture, number: int, path: Path) -> NDArray[np.uint8]:
    ok, bgr_HW3 = capture.retrieve()
    if not ok:
        raise MediaError(f"frame {number} of the video is damaged", where=[path], fix="export the video again, or remove it")
    return np.asarray(cv2.cvtColor(bgr_HW3, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _refuse_short(path: Path, read: int, stated: int | None, last: int | None) -> None:
    """Raise when reading ended too early: before the last frame wanted, or clearly before the stated end."""
    missing_wanted = last is not None and read <= last
    broken_off = stated is not None and stated > 0 and read < stated - max(2, stated * _COUNT_TOLERANCE)
    if missing_wanted or broken_off or (read == 0 and last != -1):
        expected = f" of {stated}" if stated else ""
        raise MediaError(f"the video breaks off at frame {read}{expected}", where=[path], fix="export the video again, or remove it")


def _count(capture: _Capture) -> int:
    count = 0
    while capture.grab():
        count += 1
    return count


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Capture]:
    if not path.is_file():
        raise MediaError("no such file", where=[path])
    try:
        # An absolute path: FFmpeg takes `name:rest` for a protocol.
        capture = _Capture(str(path.absolute()), cv2.CAP_FFMPEG)
    except UnicodeEncodeError as error:
        raise MediaError("the file name is not valid text, and FFmpeg cannot open it", where=[path], fix="rename the file") from error
    try:
        if not capture.isOpened():
            raise MediaError("not a video that can be read", where=[path], fix="convert it to MP4, or remove it")
        yield capture
    finally:
        capture.release()
