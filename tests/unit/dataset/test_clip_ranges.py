"""Frame rates and clip windows against the figures that musubi-tuner produces."""

import pytest

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.clip_ranges import clip_ranges, frames_at_rate, round_frames, rounded_targets


def clips(frames, **keys):
    return [(clip.start, clip.frame_count) for clip in clip_ranges(frames, DatasetSection(**keys), 4)]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        (30.0, "0 2 4 6 8 10 12 14 16 17 19 21 23 25 27 29 31 32 34 36 38"),
        (24.0, "0 2 3 5 7 8 9 11 12 14 16 17 19 20 22 23 25 26 28 29 30 32 33 35 36 38 39"),
        (60.0, "0 4 8 12 16 19 23 27 31 34 38"),
    ],
)
def test_frames_are_dropped_like_in_musubi_tuner(source, kept):
    assert frames_at_rate(40, source, 16.0) == [int(frame) for frame in kept.split()]


def test_25_frames_per_second_keep_25_of_40():
    assert len(frames_at_rate(40, 25.0, 16.0)) == 25


@pytest.mark.parametrize("source", [16.0, 10.0, 1.0, None])
def test_a_video_that_is_not_faster_keeps_all_frames(source):
    assert frames_at_rate(40, source, 16.0) == list(range(40))


@pytest.mark.parametrize(("frames", "rounded"), [(80, 77), (16, 13), (2, 1), (1, 1), (81, 81)])
def test_frame_counts_are_rounded_to_4k_plus_1(frames, rounded):
    assert round_frames(frames, 4) == rounded


def test_target_frames_are_rounded_and_named_once():
    assert rounded_targets([26, 25, 1], 4) == (1, 25)


def test_head_takes_the_first_frames():
    assert clips(40, target_frames=[1, 25]) == [(0, 1), (0, 25)]


def test_chunk_cuts_one_clip_after_the_other():
    assert clips(40, target_frames=[13], frame_extraction="chunk") == [(0, 13), (13, 13), (26, 13)]


def test_slide_moves_by_the_stride():
    assert clips(20, target_frames=[13], frame_extraction="slide", frame_stride=3) == [(0, 13), (3, 13), (6, 13)]


def test_uniform_spreads_clips_over_the_video():
    assert clips(40, target_frames=[25], frame_extraction="uniform", frame_sample=4) == [
        (0, 25),
        (5, 25),
        (10, 25),
        (15, 25),
    ]


def test_uniform_with_one_sample_is_head():
    assert clips(40, target_frames=[25], frame_extraction="uniform") == [(0, 25)]


def test_uniform_never_makes_one_clip_twice():
    assert clips(14, target_frames=[13], frame_extraction="uniform", frame_sample=5) == [(0, 13), (1, 13)]


def test_full_takes_what_fits_into_max_frames():
    assert clips(35, frame_extraction="full", max_frames=31) == [(0, 29)]


def test_a_video_that_is_too_short_gives_no_clip():
    assert clips(12, target_frames=[13]) == []


def test_the_frame_nearest_to_each_tick_of_an_uneven_video_is_taken():
    times = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.24, 0.5)
    assert frames_at_rate(8, 30.0, 10.0, times) == [0, 5, 6, 6, 7, 7]


def test_rounding_of_the_last_time_costs_no_tick():
    assert len(frames_at_rate(3, 30.0, 10.0, (0.0, 0.01, 0.2999))) == 4


def test_all_frames_of_an_uneven_video_are_kept_without_a_rate():
    assert frames_at_rate(3, None, 10.0, (0.0, 0.01, 3.0)) == [0, 1, 2]
