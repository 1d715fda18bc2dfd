"""One pass over a video serves all its clips."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from blissmask.dataset.shared_frames import SharedFrames
from blissmask.errors import InputError, MaskError, MediaError


class Film:
    """Frames that are their own numbers; counts how many were decoded."""

    def __init__(self, damaged: int | None = None, error: type[InputError] = MediaError) -> None:
        self.decoded = 0
        self._damaged = damaged
        self._error = error

    def read(self, indices: Collection[int]) -> Iterator[int]:
        for number in range(max(indices) + 1):
            self.decoded += 1
            if number not in indices:
                continue
            if number == self._damaged:
                raise self._error(f"frame {number} of the video is damaged")
            yield number


def windows(count: int, length: int, stride: int = 1) -> list[list[int]]:
    return [list(range(start, start + length)) for start in range(0, count * stride, stride)]


def test_every_clip_gets_its_own_frames():
    clips = windows(20, 5)
    shared = SharedFrames(Film().read, clips)
    assert [list(shared.frames(clip)) for clip in clips] == clips


def test_overlapping_clips_decode_the_film_once():
    film, clips = Film(), windows(20, 5)
    shared = SharedFrames(film.read, clips)
    for clip in clips:
        list(shared.frames(clip))
    assert film.decoded == 24


def test_no_more_frames_are_held_than_the_clips_ahead_need():
    clips = windows(20, 5)
    shared = SharedFrames(Film().read, clips)
    held = []
    for clip in clips:
        list(shared.frames(clip))
        held.append(len(shared._held))
    assert (max(held), held[-1]) == (4, 0)


def test_clips_may_be_taken_in_any_order_by_several_threads():
    clips = windows(60, 5)
    shared = SharedFrames(Film().read, clips)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda clip: list(shared.frames(clip)), reversed(clips))) == clips[::-1]


def test_a_damaged_frame_costs_only_the_clips_that_need_it():
    clips = windows(4, 5, stride=5)
    shared = SharedFrames(Film(damaged=7).read, clips)
    assert list(shared.frames(clips[0])) == clips[0]
    with pytest.raises(MediaError, match="frame 7 of the video is damaged"):
        list(shared.frames(clips[1]))
    assert [list(shared.frames(clip)) for clip in clips[2:]] == clips[2:]


@pytest.mark.parametrize("error", [MediaError, MaskError])
def test_a_frame_of_another_clip_that_cannot_be_used_is_passed_over(error):
    shared = SharedFrames(Film(damaged=7, error=error).read, [[7], [8, 9]])
    assert list(shared.frames([8, 9])) == [8, 9]


def test_a_frame_that_stands_is_given_as_often_as_it_is_wanted():
    clips = [[0, 1, 1, 1, 2], [1, 1, 2, 4]]
    film = Film()
    shared = SharedFrames(film.read, clips)
    assert [list(shared.frames(clip)) for clip in clips] == clips
    assert film.decoded == 5


def test_a_frame_that_stands_is_repeated_beside_a_damaged_one_too():
    shared = SharedFrames(Film(damaged=3).read, [[0, 3], [1, 1, 2]])
    with pytest.raises(MediaError):
        list(shared.frames([0, 3]))
    assert list(shared.frames([1, 1, 2])) == [1, 1, 2]
