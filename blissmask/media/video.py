"""Read videos: the one place where they are decoded, by PyAV.

Frames are turned upright by the rotation that phones store in the container, and have the size of the first one. H, W:
rows and columns of the upright frame; 3 = RGB. Sizes are (width, height).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import MediaError
from blissmask.media.picture_file import no_media
from blissmask.storage.ordinary import open_ordinary, refuse_special

_FIX = "export the video again, or remove it"
_FIX_CUT_OFF = "copy or download it again, or export what is left of it as a new video"
_LEAST_SLACK = 0.1
"""Seconds by which a whole video may end before it states: some milliseconds of rounding, or one packet of sound."""
_STATING_THE_END = ("matroska", "flv")
"""FFmpeg's names of formats whose header holds the time at which the last picture or sound ends."""
_UNSPECIFIED, _HIGH_DEFINITION = 2, "ITU709"
"""Colour matrix that a video does not state (source: ITU-T H.273, table 4), and PyAV's name for that of BT.709."""
_HD_SIZE_WH = (1280, 577)
"""From this width or height on, players take an unstated matrix for BT.709, and below for BT.601 (source: mpv)."""
_HDR_CURVES = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of HDR (source: ITU-T H.273, table 3)."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The size, length and rate of a video.

    Attributes:
        size_wh: upright size.
        frame_count: frames up to the last that can be decoded where they were counted; else what the container states,
            which is too high where an edit list hides some.
        fps: frames per second; 0 where the container does not state them.
        times: when each frame is shown, seconds from the first one, where frames were counted and come so unevenly that
            their numbers do not say; else empty.
        damaged: numbers of frames that were counted and cannot be decoded, the last ones included.
        hdr: the curve of an HDR video, "PQ" or "HLG"; else empty.
    """

    size_wh: tuple[int, int]
    frame_count: int
    fps: float
    times: tuple[float, ...] = ()
    damaged: tuple[int, ...] = ()
    hdr: str = ""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """One frame in the order of showing: the frame, None where it is damaged, and its time, seconds."""

    frame: Any | None
    time: float


def read_info(path: Path, *, count: bool = False) -> VideoInfo:
    """Read size, frame count and rate.

    Args:
        path: the video.
        count: whether to decode the whole video and count its frames.

    Raises:
        MediaError: the file is missing, no video, cut off, or no frame of it can be decoded.
    """
    with _opened(path) as video:
        first: Any | None = None
        times: list[float] = []
        damaged: list[int] = []
        for number, decoded in enumerate(video.frames()):
            times.append(decoded.time)
            if decoded.frame is None:
                damaged.append(number)
            else:
                first = decoded.frame if first is None else first
                if not count:
                    break
        if first is None:
            raise MediaError("no frame of the video can be decoded", where=[path], fix=_FIX)
        if count:
            video.refuse_missing_end()
        counted = len(times)
        while damaged and counted - 1 in damaged:
            counted -= 1
        return VideoInfo(
            size_wh=_upright_size(first),
            frame_count=counted if count else video.stated_count(),
            fps=video.fps,
            times=_uneven(times[:counted]) if count else (),
            damaged=tuple(damaged),
            hdr=_HDR_CURVES.get(int(getattr(first, "color_trc", 0) or 0), ""),
        )


def read_times(path: Path, frame_count: int) -> tuple[float, ...]:
    """Return when each frame of a counted video is shown, seconds from the first one, without decoding it if possible.

    Args:
        path: the video.
        frame_count: its frames, counted.

    Raises:
        MediaError: as for :func:`read_info`.
    """
    with _opened(path) as video:
        times = video.packet_times()
    if len(times) == frame_count:
        return tuple(time - times[0] for time in times)
    # Some codecs have packets without a picture of their own.
    return read_info(path, count=True).times


def refuse_cut_off(path: Path) -> None:
    """Read a video to its end without decoding it.

    Raises:
        MediaError: the file is missing, no video, or cut off.
    """
    with _opened(path) as video:
        video.packet_times()
        video.refuse_missing_end()


def read_frames(path: Path, indices: Collection[int] | None = None) -> Iterator[NDArray[np.uint8]]:
    """Decode frames in order, upright, as uint8 RGB of shape (H, W, 3).

    One frame is in memory at a time. The video ends where decoding ends, whatever number of frames the container
    states.

    Args:
        path: the video.
        indices: numbers of the wanted frames, counted from 0; None for all up to the last that can be decoded.

    Raises:
        MediaError: the file is missing, no video, cut off, damaged before the last wanted frame, or ends before it; the
            error names the frame.
    """
    wanted, last = None, None
    if indices is not None:
        wanted = frozenset(indices)
        last = max(wanted, default=-1)
    with _opened(path) as video:
        if last == -1:
            return
        read, damaged = 0, -1
        size_wh: tuple[int, int] | None = None
        for number, decoded in enumerate(video.frames()):
            if decoded.frame is None:
                damaged = number if damaged < 0 else damaged
            elif damaged >= 0:
                break
            else:
                size_wh = size_wh or (decoded.frame.width, decoded.frame.height)
                if wanted is None or number in wanted:
                    yield _to_rgb(decoded.frame, size_wh)
                read = number + 1
            if number == last and damaged < 0:
                return
        else:
            # Damage up to the end is the end, unless frames of it are wanted.
            damaged = -1 if last is None and read else damaged
            video.refuse_missing_end()
        if damaged >= 0:
            raise MediaError(f"frame {damaged} of the video is damaged", where=[path], fix=_FIX)
        if last is not None or not read:
            raise MediaError(f"the video breaks off at frame {read}", where=[path], fix=_FIX)


class _Video:
    """An open video.

    Args:
        path: the file.
        container: PyAV's container.
        stream: the stream of pictures.
    """

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self._path, self._container, self._stream = path, container, stream
        self._packets = 0
        self._end, self._longest_wait = 0.0, 0.0
        self._breaks_off = False

    @property
    def fps(self) -> float:
        """Return the rate that the container states; 0 where it states none."""
        return float(self._stream.guessed_rate or self._stream.average_rate or 0)

    def stated_count(self) -> int:
        """Return the number of frames that the container states, or that its duration and rate give."""
        if self._stream.frames:
            return int(self._stream.frames)
        seconds = (self._container.duration or 0) / 1e6
        return max(1, round(seconds * self.fps))

    def frames(self) -> Iterator[_Decoded]:
        """Decode the frames in the order in which they are shown; a packet that fails counts as a damaged frame."""
        self._stream.thread_type = "AUTO"
        shown = 0
        for packet in self._demux():
            try:
                pictures = packet.decode()
            except _ffmpeg_errors():
                pictures = [None]
            for picture in pictures:
                time = None if picture is None else picture.time
                if time is None:
                    time = shown / self.fps if self.fps else float(shown)
                yield _Decoded(picture, float(time))
                shown += 1

    def packet_times(self) -> list[float]:
        """Read to the end without decoding; return the times of the packets that are shown, in order."""
        shown = [packet for packet in self._demux() if packet.pts is not None and packet.size and not packet.is_discard]
        return sorted(float(packet.pts * packet.time_base) for packet in shown)

    def refuse_missing_end(self) -> None:
        """Raise MediaError when the file, which was read to its end, has less than it states.

        AVI states the number of its frames; Matroska and FLV the end of their longest stream. MP4 and MOV state where
        each frame lies, so that they were refused when they were opened. MPEG states nothing, and what WMV states is
        dropped by FFmpeg where the file is too short for it.
        """
        stated = int(self._stream.frames)
        if self._breaks_off or ("avi" in self._container.format.name and self._packets < stated):
            raise _cut_off(self._path, f"it gives {self._packets} frames" + (f" of {stated}" if stated else ""))
        seconds = (self._container.duration or 0) / 1e6
        # The last frame may be shown for longer than its packet says, as the others before it were.
        slack = max(_LEAST_SLACK, 2 * self._longest_wait)
        states_end = any(name in self._container.format.name for name in _STATING_THE_END)
        if states_end and seconds - self._end > slack:
            raise _cut_off(self._path, f"it ends after {self._end:.1f} of {seconds:.1f} seconds")

    def _demux(self) -> Iterator[Any]:
        """Yield the packets of the pictures, the last one empty; look at the times of all streams."""
        before: dict[int, float] = {}
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except _ffmpeg_errors():
                self._breaks_off = True
                return
            if packet.size and packet.pts is not None:
                start = float(packet.pts * packet.time_base)
                self._end = max(self._end, start + float((packet.duration or 0) * packet.time_base))
                self._longest_wait = max(self._longest_wait, start - before.get(packet.stream.index, start))
                before[packet.stream.index] = start
            if packet.stream.index != self._stream.index:
                continue
            if packet.size:
                self._packets += 1
                # The last packet is flagged so when the file ends within it.
                self._breaks_off = bool(packet.is_corrupt)
            yield packet


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Video]:
    """Yield an open video; raise MediaError when it is missing, cut off or no video."""
    # Photos need no second FFmpeg in memory.
    import av

    try:
        refuse_special(path)
    except FileNotFoundError as error:
        raise MediaError("no such file", where=[path]) from error
    except OSError as error:
        raise MediaError(f"the video cannot be read: {error.strerror or error}", where=[path]) from error
    try:
        # FFmpeg reads `name:rest` as a protocol; an absolute path never looks like one. Play lists and the like open
        # other files, but nothing is fetched.
        container = av.open(  # noqa: TID251
            str(path.absolute()), metadata_errors="ignore", options={"protocol_whitelist": "file"}
        )
    except _ffmpeg_errors() as error:
        raise _not_a_video(path) from error
    with container:
        stream = container.streams.best("video")
        if stream is None:
            raise MediaError("the video has no picture", where=[path])
        end, size = _indexed_end(stream), path.stat().st_size
        if end > size:
            raise _cut_off(path, f"{end - size} bytes of its end are missing")
        yield _Video(path, container, stream)


def _ffmpeg_errors() -> tuple[type[Exception], ...]:
    import av

    return (av.FFmpegError, OSError)


def _indexed_end(stream: Any) -> int:
    """Return where the last frame of the container's index ends; 0 where it has no index."""
    return max((entry.pos + entry.size for entry in stream.index_entries), default=0)


def _upright_size(frame: Any) -> tuple[int, int]:
    width, height = int(frame.width), int(frame.height)
    return (height, width) if frame.rotation % 180 else (width, height)


def _to_rgb(frame: Any, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a frame upright, at the stored size of the first one."""
    width, height = size_wh
    is_hd = width >= _HD_SIZE_WH[0] or height >= _HD_SIZE_WH[1]
    matrix = _HIGH_DEFINITION if is_hd and int(frame.colorspace) == _UNSPECIFIED else None
    rgb_HW3 = frame.reformat(width=width, height=height, format="rgb24", src_colorspace=matrix).to_ndarray()
    if _is_mirrored(frame):
        rgb_HW3 = rgb_HW3[::-1]
    turned_HW3 = np.rot90(rgb_HW3, round(frame.rotation / 90))
    return np.ascontiguousarray(turned_HW3, dtype=np.uint8)


def _is_mirrored(frame: Any) -> bool:
    """Return whether players turn a frame over, top to bottom, before they turn it by its angle.

    A turn leaves the determinant of the display matrix at 1, a mirror makes it -1. FFmpeg's angle, which is PyAV's
    ``rotation``, is that of the upper side alone (source: ``av_display_rotation_get``).
    """
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            across_x, across_y, _, down_x, down_y, *_ = struct.unpack("=9i", bytes(data))
            return bool(across_x * down_y < across_y * down_x)
    return False


def _uneven(times: Sequence[float]) -> tuple[float, ...]:
    """Return the times from the first one on; empty where numbers say them to within half a frame."""
    seconds = np.asarray(times, dtype=np.float64) - times[0]
    if len(seconds) < 3 or seconds[-1] <= 0:
        return ()
    interval = seconds[-1] / (len(seconds) - 1)
    deviation = np.abs(seconds - np.arange(len(seconds)) * interval).max()
    return tuple(seconds.tolist()) if deviation > interval / 2 else ()


def _not_a_video(path: Path) -> MediaError:
    try:
        with open_ordinary(path) as file:
            start = file.read(256)
    except OSError as error:
        return MediaError(f"the video cannot be read: {error.strerror or error}", where=[path])
    if (other := no_media(path, start, "video")) is not None:
        return other
    # MP4 and MOV begin with the length and name of their first part, and often have their index at the end.
    if start[4:8] in (b"ftyp", b"wide", b"mdat"):
        return _cut_off(path, "its index is missing")
    if start[:4] == b"\x1a\x45\xdf\xa3" or (start[:4] == b"RIFF" and start[8:12] == b"AVI "):
        return _cut_off(path, "it holds no frame")
    return MediaError("not a video that can be read", where=[path], fix="convert it to MP4, or remove it")


def _cut_off(path: Path, what: str) -> MediaError:
    return MediaError(f"the video is cut off: {what}", where=[path], fix=_FIX_CUT_OFF)
