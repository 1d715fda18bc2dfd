"""Write videos: the one place where they are encoded, by OpenCV. F, H, W: frames, rows and columns; 3 = RGB."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.errors import MachineError
from blissmask.storage import atomic
from blissmask.storage.ordinary import read_bytes

# FFmpeg and OpenCV would print their own messages between our lines; this module raises an error for each failure. The
# level -8 is FFmpeg's AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

_Writer: TypeAlias = cv2.VideoWriter  # noqa: TID251

_CODECS = ("vp09", "mp4v")
"""Codecs by preference: browsers play VP9, which needs libvpx; MPEG-4 is FFmpeg's own."""


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
        atomic.write_bytes(path, read_bytes(video))


def _open_writer(video: Path, *, fps: float, size_wh: tuple[int, int]) -> _Writer | None:
    """Return a writer with the first codec that OpenCV can encode here, None when there is none."""
    for codec in _CODECS:
        writer = _Writer(str(video), cv2.CAP_FFMPEG, _Writer.fourcc(*codec), fps, size_wh)
        if writer.isOpened():
            return writer
    return None
