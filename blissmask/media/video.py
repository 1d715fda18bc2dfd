"""Read and write videos: the one place where they are decoded and encoded, through OpenCV's FFmpeg.

The rotation that phones write beside the frames is applied. H, W: rows and columns of the upright frame; 3 = RGB. Sizes
are (width, height).
"""

from __future__ import annotations

import contextlib
import math
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
from blissmask.media.container import missing_bytes
from blissmask.storage import atomic

# FFmpeg and OpenCV would write their own complaints between our lines; what fails is reported by us.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

_Capture: TypeAlias = cv2.VideoCapture  # noqa: TID251

_CODECS = ("vp09", "mp4v")
_FIX = "export the video again, or remove it"
_TRIES = 1000
"""Frames that fail one after the other before the end is believed; at the end itself, trying is free."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video.

    Attributes:
        size_wh: upright size.
        frame_count: frames that come out of it where they were counted, else ``stated_count``.
        fps: frames per second; 0 where the container does not say.
        stated_count: as the container states it, counted where it does not. Too many where a film was cut without being
            encoded anew (its edit list hides the rest), or where the number is estimated and the sound is longer than
            the picture.
    """

    size_wh: tuple[int, int]
    frame_count: int
    fps: float
    stated_count: int


def read_info(path: Path, *, count: bool = False) -> VideoInfo:
    """Read size, frame count and rate.

    Args:
        path: the video.
        count: decode the whole video and count its frames; else no more than the first one is decoded where the
            container states a number.

    Raises:
        MediaError: the file is missing, no video, cut off, or no frame of it can be decoded.
    """
    with _opened(path) as capture:
        size_wh = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        if min(size_wh) <= 0:
            raise MediaError("the video has no picture", where=[path])
        frame_count = sum(1 for _ in _grab_all(capture)) if count or stated <= 0 else stated
        if not frame_count:
            raise MediaError("no frame of the video can be decoded", where=[path], fix=_FIX)
        return VideoInfo(
            size_wh, frame_count, fps if math.isfinite(fps) and fps > 0 else 0.0, stated if stated > 0 else frame_count
        )


def read_frames(path: Path, indices: Collection[int] | None = None) -> Iterator[NDArray[np.uint8]]:
    """Decode frames in order, upright, as uint8 RGB of shape (H, W, 3); one at a time, so memory does not grow with the length.

    The end is where decoding ends, whatever number the container states: where the two differ, trimmed films and long
    sound are far commoner than damage. Known for damage are a file that is shorter than its container says, and a frame
    that cannot be decoded before one that can; nothing tells a film whose last frames are all damaged from one that was
    trimmed.

    Args:
        path: the video.
        indices: numbers of the frames wanted, counted from 0; None for all.

    Raises:
        MediaError: the file is missing, no video, cut off, damaged before the last frame wanted, or ends before it;
            names the frame.
    """
    wanted = None if indices is None else frozenset(indices)
    last = None if wanted is None else max(wanted, default=-1)
    with _opened(path) as capture:
        if last == -1:
            return
        read = 0
        for number, decoded in _grab_all(capture):
            if not decoded:
                raise _damaged(path, number)
            if wanted is None or number in wanted:
                yield _retrieve(capture, number, path)
            read = number + 1
            if number == last:
                return
        if last is not None or not read:
            raise MediaError(f"the video breaks off at frame {read}", where=[path], fix=_FIX)


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
        writers = (_writer(video, codec, fps=fps, size_wh=(width, height)) for codec in _CODECS)
        writer = next((writer for writer in writers if writer.isOpened()), None)
        if writer is None:
            raise MachineError(
                "OpenCV has no encoder for MP4 here", where=[path], fix="install `opencv-python-headless` from PyPI"
            )
        for rgb_HW3 in rgb_FHW3:
            writer.write(cv2.cvtColor(rgb_HW3, cv2.COLOR_RGB2BGR))
        writer.release()
        atomic.write_bytes(path, video.read_bytes())


def _writer(video: Path, codec: str, *, fps: float, size_wh: tuple[int, int]) -> cv2.VideoWriter:  # noqa: TID251 (its home)
    fourcc = cv2.VideoWriter.fourcc(*codec)  # noqa: TID251
    return cv2.VideoWriter(str(video), cv2.CAP_FFMPEG, fourcc, fps, size_wh)  # noqa: TID251


def _grab_all(capture: _Capture) -> Iterator[tuple[int, bool]]:
    """Yield the number of each frame and whether it can be decoded; those that cannot are known by one after them that can.

    FFmpeg's answer to a damaged frame and to the end is the same, "no frame".
    """
    number = 0
    while True:
        failed = 0
        while not capture.grab():
            failed += 1
            if failed > _TRIES:
                return
        for _ in range(failed):
            yield number, False
            number += 1
        yield number, True
        number += 1


def _retrieve(capture: _Capture, number: int, path: Path) -> NDArray[np.uint8]:
    ok, bgr_HW3 = capture.retrieve()
    if not ok:
        raise _damaged(path, number)
    return np.asarray(cv2.cvtColor(bgr_HW3, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _damaged(path: Path, number: int) -> MediaError:
    return MediaError(f"frame {number} of the video is damaged", where=[path], fix=_FIX)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Capture]:
    if not path.is_file():
        raise MediaError("no such file", where=[path])
    _refuse_cut_off(path)
    try:
        # An absolute path: FFmpeg takes `name:rest` for a protocol.
        capture = _Capture(str(path.absolute()), cv2.CAP_FFMPEG)
    except UnicodeEncodeError as error:
        raise MediaError(
            "the file name is not valid text, and FFmpeg cannot open it", where=[path], fix="rename the file"
        ) from error
    try:
        if not capture.isOpened():
            raise MediaError("not a video that can be read", where=[path], fix="convert it to MP4, or remove it")
        yield capture
    finally:
        capture.release()


def _refuse_cut_off(path: Path) -> None:
    try:
        missing = missing_bytes(path)
    except OSError as error:
        raise MediaError(f"the video cannot be read: {error.strerror or error}", where=[path]) from error
    if missing:
        what = f"the video is cut off: {missing} bytes of its end are missing"
        raise MediaError(
            what, where=[path], fix="copy or download it again, or export what is left of it as a new video"
        )
