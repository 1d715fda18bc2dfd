"""Which frames of a video become which clips: frame rate and windows. Pure arithmetic, no files.

Source of every rule: musubi-tuner's video data set, with which clip names must agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blissmask.config.dataset import DatasetSection


@dataclass(frozen=True, slots=True)
class FrameRange:
    """A clip: ``frame_count`` frames from ``start``, counted after the change of the frame rate."""

    start: int
    frame_count: int

    def __str__(self) -> str:
        """Return ``0-24``."""
        return f"{self.start}-{self.start + self.frame_count - 1}"


def frames_at_rate(frame_count: int, source_fps: float | None, target_fps: float) -> list[int]:
    """Return which of ``frame_count`` frames are kept to bring a video from ``source_fps`` to ``target_fps``.

    Frames are dropped, never repeated: a slower video keeps all. None for ``source_fps`` keeps all.
    """
    if source_fps is None:
        return list(range(frame_count))
    kept: list[int] = []
    position, step, last = 0.0, target_fps / source_fps, -1
    # The sum of the steps is rounded down frame by frame, as musubi-tuner does, so that clip names agree to the frame.
    for frame in range(frame_count):
        time = int(position)
        position += step
        if time != last:
            kept.append(frame)
            last = time
    return kept


def round_frames(frame_count: int, temporal_stride: int) -> int:
    """Return the largest ``temporal_stride * k + 1`` that is at most ``frame_count`` (>= 1)."""
    return (frame_count - 1) // temporal_stride * temporal_stride + 1


def rounded_targets(target_frames: Iterable[int], temporal_stride: int) -> tuple[int, ...]:
    """Return the clip lengths a video causal VAE can encode, ascending, without repeats."""
    return tuple(sorted({round_frames(frames, temporal_stride) for frames in target_frames}))


def clip_ranges(frame_count: int, dataset: DatasetSection, temporal_stride: int) -> list[FrameRange]:
    """Return the clips cut from a video of ``frame_count`` frames (at the target rate); none when it is too short.

    Args:
        frame_count: frames at the target rate.
        dataset: ``target_frames``, ``frame_extraction`` and what belongs to it.
        temporal_stride: frames per latent frame after the first.
    """
    if dataset.frame_extraction == "full":
        longest = min(frame_count, dataset.max_frames)
        return [FrameRange(0, round_frames(longest, temporal_stride))] if longest > 0 else []
    ranges = [
        FrameRange(start, length)
        for length in rounded_targets(dataset.target_frames, temporal_stride)
        if length <= frame_count
        for start in _starts(frame_count, length, dataset)
    ]
    # `uniform` repeats starts when a video has fewer windows than samples.
    return list(dict.fromkeys(ranges))


def _starts(frame_count: int, length: int, dataset: DatasetSection) -> Iterable[int]:
    room = frame_count - length
    match dataset.frame_extraction:
        case "chunk":
            return range(0, room + 1, length)
        case "slide":
            return range(0, room + 1, dataset.frame_stride)
        case "uniform" if dataset.frame_sample > 1:
            # In floating point and rounded down, as `numpy.linspace` does it there; the last start is exact.
            step = room / (dataset.frame_sample - 1)
            return [*(int(number * step) for number in range(dataset.frame_sample - 1)), room]
    return (0,)
