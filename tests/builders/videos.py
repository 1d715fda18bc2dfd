"""Videos as cameras, editors and broken downloads leave them. What a test cannot write with OpenCV is patched into the file's bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
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


def long_sound(path: Path, count: int, *, share: float, fps: int = 24) -> Path:
    """Write a Matroska film whose silence is ``share`` longer than its frames."""
    with av.open(str(path), "w", format="matroska") as container:
        pictures = container.add_stream("mpeg4", rate=fps)
        pictures.width, pictures.height, pictures.pix_fmt = *SIZE_WH, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for frame in _greys(count):
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        silence.sample_rate = 8000
        for _ in range(math.ceil(count / fps * (1 + share) * 10)):
            container.mux(sound.encode(silence))
        container.mux(sound.encode())
    return path


def uneven_video(
    path: Path, seconds: Sequence[float], *, codec: str = "mpeg4", options: Mapping[str, str] | None = None
) -> Path:
    """Write one frame for each time, of rising grey, as phones and screen recorders time them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=dict(options or {})) as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, time in zip(_greys(len(seconds)), seconds, strict=True):
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned_video(path: Path, frames_HW3: Sequence[np.ndarray], degrees: int, *, is_mirrored: bool = False) -> Path:
    """Write frames and the turn that a player makes, clockwise, as phones do; one that mirrors turns them over first."""
    data = bytearray(write_video(path, frames_HW3).read_bytes())
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    down = -1 if is_mirrored else 1
    # The matrix stands 40 bytes into the content of the track's header (source: ISO 14496-12, 8.3.2).
    numbers = [part << 16 for part in (cosine, sine, 0, -sine * down, cosine * down)]
    struct.pack_into(">5i", data, data.index(b"tkhd") + 44, *numbers)
    path.write_bytes(data)
    return path


def _greys(count: int) -> Iterator[av.VideoFrame]:
    for number in range(count):
        grey_HW3 = np.full((SIZE_WH[1], SIZE_WH[0], 3), 10 + 200 * number // count, np.uint8)
        yield av.VideoFrame.from_ndarray(grey_HW3, format="rgb24")


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
