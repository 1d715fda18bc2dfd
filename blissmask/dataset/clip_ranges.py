"""Decide which frames of a video become which clips: frame rate and windows. Pure arithmetic, no files.

Source of every rule but that of uneven videos: musubi-tuner's video data set. Clip names must agree with its names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blissmask.config.sections.dataset_section import DatasetSection

_TICK_TOLERANCE = 1e-3
"""Share of a tick that rounding may take from the time of the last frame; Matroska rounds to milliseconds."""


@dataclass(frozen=True, slots=True)
class FrameRange:
    """A clip: ``frame_count`` frames from frame ``start``, counted after the change of the frame rate."""

    start: int
    frame_count: int

    def __str__(self) -> str:
        """Return the first and the last frame: ``0-24``."""
        return f"{self.start}-{self.start + self.frame_count - 1}"


def frames_at_rate(
    frame_count: int, source_fps: float | None, target_fps: float, times: tuple[float, ...] = ()
) -> list[int]:
    """Return which frames of a video are kept to bring it from ``source_fps`` to ``target_fps``.

    Frames of an even rate are dropped, never repeated, so a slower video keeps all of them. Of an uneven one, the frame
    nearest to each tick of ``target_fps`` is taken, so that a frame that stands is repeated.

    Args:
        frame_count: frames of the video.
        source_fps: its rate; None keeps all frames.
        target_fps: the wanted rate.
        times: when each frame is shown, seconds from the first one, where that is uneven; ``source_fps`` then only says
            that the rate is to be changed.
    """
    if source_fps is None:
        return list(range(frame_count))
    if times:
        return _nearest_to_ticks(times, target_fps)
    kept: list[int] = []
    position, step, last = 0.0, target_fps / source_fps, -1
    # The sum of the steps is rounded down frame by frame, as musubi-tuner does; otherwise some clips would differ from
    # its clips by a frame.
    for frame in range(frame_count):
        time = int(position)
        position += step
        if time != last:
            kept.append(frame)
            last = time
    return kept


def _nearest_to_ticks(times: tuple[float, ...], target_fps: float) -> list[int]:
    """Return the frame that is nearest in time to each tick, the earlier of two; the last tick is within the video."""
    kept, frame = [], 0
    for tick in range(int(times[-1] * target_fps + _TICK_TOLERANCE) + 1):
        wanted = tick / target_fps
        while frame + 1 < len(times) and abs(times[frame + 1] - wanted) < abs(times[frame] - wanted):
            frame += 1
        kept.append(frame)
    return kept


def round_frames(frame_count: int, temporal_stride: int) -> int:
    """Return the largest ``temporal_stride * k + 1`` that is at most ``frame_count`` (>= 1)."""
    return (frame_count - 1) // temporal_stride * temporal_stride + 1


def rounded_targets(target_frames: Iterable[int], temporal_stride: int) -> tuple[int, ...]:
    """Return the clip lengths that a causal video VAE can encode, ascending, without repeats."""
    return tuple(sorted({round_frames(frames, temporal_stride) for frames in target_frames}))


def clip_ranges(frame_count: int, dataset: DatasetSection, temporal_stride: int) -> list[FrameRange]:
    """Return the clips that are cut from a video; none when it is too short.

    Args:
        frame_count: frames of the video at the target rate.
        dataset: the section with ``target_frames``, ``frame_extraction`` and the keys of the chosen extraction.
        temporal_stride: frames per latent frame after the first.
    """
    if dataset.frame_extraction == "full":
        longest = min(frame_count, dataset.max_frames)
        return [FrameRange(0, round_frames(longest, temporal_stride))] if longest > 0 else []
    ranges = []
    for length in rounded_targets(dataset.target_frames, temporal_stride):
        if length <= frame_count:
            ranges += [FrameRange(start, length) for start in _starts(frame_count, length, dataset)]
    # `uniform` may round two starts to one.
    return list(dict.fromkeys(ranges))


def _starts(frame_count: int, length: int, dataset: DatasetSection) -> Iterable[int]:
    room = frame_count - length
    match dataset.frame_extraction:
        case "chunk":
            return range(0, room + 1, length)
        case "slide":
            return range(0, room + 1, dataset.frame_stride)
        case "uniform" if dataset.frame_sample > room:
            return range(room + 1)
        case "uniform" if dataset.frame_sample > 1:
            # As `numpy.linspace` in musubi-tuner: in floating point and rounded down, and the last start is exact.
            step = room / (dataset.frame_sample - 1)
            starts = [int(number * step) for number in range(dataset.frame_sample - 1)]
            return [*starts, room]
    return (0,)
