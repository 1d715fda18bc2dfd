"""Read and write videos: the one place where they are decoded and encoded, through OpenCV's FFmpeg.

Frames are turned upright by the rotation that phones store in the container. H, W: rows and columns of the upright
frame; 3 = RGB. Sizes are (width, height).
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

# FFmpeg and OpenCV would print their own messages between our lines; this module raises an error for each failure. The
# level -8 is FFmpeg's AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

_Capture: TypeAlias = cv2.VideoCapture  # noqa: TID251
_Writer: TypeAlias = cv2.VideoWriter  # noqa: TID251

_CODECS = ("vp09", "mp4v")
"""Codecs by preference: browsers play VP9, which needs libvpx; MPEG-4 is FFmpeg's own."""
_FIX = "export the video again, or remove it"
_TRIES = 1000
"""Failures one after the other that count as the end of the video; at the end itself, a try takes no time."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The size, length and rate of a video.

    Attributes:
        size_wh: upright size.
        frame_count: number of frames that can be decoded where they were counted, else ``stated_count``.
        fps: frames per second; 0 where the container does not state them.
        stated_count: number of frames that the container states; the counted number where it states none. It is too
            high where a video was cut without encoding it again (an edit list hides the rest), and where it is an
            estimate and the sound is longer than the picture.
    """

    size_wh: tuple[int, int]
    frame_count: int
    fps: float
    stated_count: int


def read_info(path: Path, *, count: bool = False) -> VideoInfo:
    """Read size, frame count and rate.

    Args:
        path: the video.
        count: whether to decode the whole video and count its frames. If not, frames are counted only where the
            container states no number.

    Raises:
        MediaError: the file is missing, no video, cut off, or no frame of it can be decoded.
    """
    with _opened(path) as capture:
        size_wh = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        if min(size_wh) <= 0:
            raise MediaError("the video has no picture", where=[path])
        frame_count = stated
        if count or stated <= 0:
            frame_count = sum(1 for _ in _grab_all(capture))
        if not frame_count:
            raise MediaError("no frame of the video can be decoded", where=[path], fix=_FIX)
        return VideoInfo(
            size_wh=size_wh,
            frame_count=frame_count,
            fps=fps if math.isfinite(fps) and fps > 0 else 0.0,
            stated_count=stated if stated > 0 else frame_count,
        )


def read_frames(path: Path, indices: Collection[int] | None = None) -> Iterator[NDArray[np.uint8]]:
    """Decode frames in order, upright, as uint8 RGB of shape (H, W, 3).

    One frame is in memory at a time. The video ends where decoding ends, whatever number of frames the container
    states: where the two differ, trimmed videos and long sound are far commoner than damage. Two things count as
    damage: a file that is shorter than its container states, and a frame that cannot be decoded before one that can. A
    video whose last frames are all damaged looks like a trimmed one.

    Args:
        path: the video.
        indices: numbers of the wanted frames, counted from 0; None for all.

    Raises:
        MediaError: the file is missing, no video, cut off, damaged before the last wanted frame, or ends before it; the
            error names the frame.
    """
    wanted, last = None, None
    if indices is not None:
        wanted = frozenset(indices)
        last = max(wanted, default=-1)
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
    """Publish an MP4 that browsers play: VP9, or MPEG-4 where OpenCV's FFmpeg has no VP9.

    Args:
        path: the file; its folder is created.
        rgb_FHW3: frames, uint8.
        fps: frames per second.

    Raises:
        MachineError: there is no encoder, the disk is full or the folder cannot be written; nothing is left behind.
    """
    height, width = rgb_FHW3.shape[1:3]
    # FFmpeg chooses the format by the name's suffix, which the temporary name of a file to be published does not have.
    with tempfile.TemporaryDirectory() as scratch:
        video = Path(scratch, "video.mp4")
        writer = _open_writer(video, fps=fps, size_wh=(width, height))
        if writer is None:
            raise MachineError(
                "OpenCV has no encoder for MP4 here", where=[path], fix="install `opencv-python-headless` from PyPI"
            )
        for rgb_HW3 in rgb_FHW3:
            writer.write(cv2.cvtColor(rgb_HW3, cv2.COLOR_RGB2BGR))
        writer.release()
        atomic.write_bytes(path, video.read_bytes())


def _open_writer(video: Path, *, fps: float, size_wh: tuple[int, int]) -> _Writer | None:
    """Return a writer with the first codec that OpenCV can encode here, None when there is none."""
    for codec in _CODECS:
        writer = _Writer(str(video), cv2.CAP_FFMPEG, _Writer.fourcc(*codec), fps, size_wh)
        if writer.isOpened():
            return writer
    return None


def _grab_all(capture: _Capture) -> Iterator[tuple[int, bool]]:
    """Yield the number of each frame and whether it can be decoded.

    FFmpeg answers "no frame" both to a damaged frame and to the end, so failures count as damaged frames only when a
    frame after them can be decoded.
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
    """Yield an open video; raise MediaError when it is missing, cut off or no video."""
    if not path.is_file():
        raise MediaError("no such file", where=[path])
    _refuse_cut_off(path)
    try:
        # FFmpeg reads `name:rest` as a protocol; an absolute path never looks like one.
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
        raise MediaError(
            f"the video is cut off: {missing} bytes of its end are missing",
            where=[path],
            fix="copy or download it again, or export what is left of it as a new video",
        )
