"""Decode a video once for all clips that are cut from it.

Each clip on its own would decode the video from its start: for a hundred clips, half the video a hundred times.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from blissmask.errors import InputError, MediaError

FrameT = TypeVar("FrameT")


class SharedFrames(Generic[FrameT]):
    """The frames of a video that its clips need, decoded once and in order.

    A frame is freed as soon as the last clip that needs it has it. Threads may take clips at the same time. Memory
    holds the frames from the first unfinished clip to the last one begun, so clips should be taken in the order of
    their last frames.

    Args:
        read: yields the frames of the given numbers in ascending order.
        clips: the frame numbers of each clip, ascending.
    """

    def __init__(self, read: Callable[[Collection[int]], Iterator[FrameT]], clips: Iterable[Sequence[int]]) -> None:
        self._read = read
        self._uses = Counter(index for clip in clips for index in clip)
        self._numbers = sorted(self._uses)
        self._source: Iterator[tuple[int, FrameT]] | None = None
        self._held: dict[int, FrameT] = {}
        self._lock = threading.Lock()

    def frames(self, indices: Sequence[int]) -> Iterator[FrameT]:
        """Yield the frames of one of the clips.

        When the common pass meets a frame that cannot be used, this clip and those after it are read on their own, so
        that a clip fails only because of a frame that it needs itself.

        Raises:
            InputError: a frame of this clip is missing or damaged, or does not fit.
        """
        for position, index in enumerate(indices):
            try:
                frame = self._take(index)
            except InputError:
                yield from self._read_alone(indices[position:])
                return
            yield frame

    def _read_alone(self, indices: Sequence[int]) -> Iterator[FrameT]:
        # A frame of an uneven video that stands is wanted more than once.
        times = Counter(indices)
        for number, frame in zip(sorted(times), self._read(sorted(times)), strict=False):
            for _ in range(times[number]):
                yield frame

    def _take(self, index: int) -> FrameT:
        """Return a frame for one clip, decoding up to it; forget it after its last use."""
        with self._lock:
            if self._source is None:
                self._source = zip(self._numbers, self._read(self._numbers), strict=False)
            while index not in self._held:
                try:
                    number, frame = next(self._source)
                except StopIteration:
                    raise MediaError(f"the pass over the video ended before frame {index}") from None
                self._held[number] = frame
            self._uses[index] -= 1
            return self._held[index] if self._uses[index] else self._held.pop(index)
