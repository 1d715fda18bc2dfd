"""Videos as cameras, editors and broken downloads leave them. What a test cannot write with OpenCV is patched into the file's bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from tests.builders.pictures import write_video

SIZE_WH = (64, 48)


def grey_video(path: Path, count: int, *, fps: float = 24.0) -> Path:
    """Write frames of rising grey, so that each can be told."""
    return write_video(
        path,
        [np.full((SIZE_WH[1], SIZE_WH[0], 3), 10 + 200 * number // count, np.uint8) for number in range(count)],
        fps=fps,
    )


def trimmed(path: Path, count: int, *, first: int, kept: int, fps: float = 24.0) -> Path:
    """Write an MP4 of ``count`` frames whose edit list shows ``kept`` of them, as ``ffmpeg -ss ... -t ... -c copy`` leaves it."""
    data = bytearray(grey_video(path, count, fps=fps).read_bytes())
    edits, movie, media = (data.index(name) for name in (b"elst", b"mvhd", b"mdhd"))
    movie_scale, media_scale = (struct.unpack_from(">I", data, position + 16)[0] for position in (movie, media))
    struct.pack_into(">II", data, edits + 12, int(movie_scale * kept / fps), round(media_scale * first / fps))
    path.write_bytes(data)
    return path


def long_sound(path: Path, count: int, *, share: float) -> Path:
    """Write a Matroska film whose duration is ``share`` longer than its frames, as one with longer sound states it."""
    data = bytearray(grey_video(path.with_suffix(".mkv"), count).read_bytes())
    duration = data.index(b"\x44\x89\x88") + 3
    struct.pack_into(">d", data, duration, struct.unpack_from(">d", data, duration)[0] * (1 + share))
    path.with_suffix(".mkv").unlink()
    path.write_bytes(data)
    return path


def cut_off(path: Path, *, share: float = 0.5) -> Path:
    """Leave only the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def with_damaged_frames(path: Path, damaged: range, count: int, *, size_wh: tuple[int, int] = SIZE_WH) -> Path:
    """Write an AVI of ``count`` frames, each on its own, of which the ``damaged`` ones are zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 16.0, size_wh)
    for number in range(count):
        writer.write(np.full((size_wh[1], size_wh[0], 3), 15 * number % 256, np.uint8))
    writer.release()
    content = bytearray(path.read_bytes())
    pictures = [position for position in range(len(content)) if content[position : position + 3] == b"\xff\xd8\xff"]
    for number in damaged:
        end = pictures[number + 1] - 8 if number + 1 < count else content.index(b"idx1", pictures[number])
        content[pictures[number] : end] = bytes(end - pictures[number])
    path.write_bytes(content)
    return path
