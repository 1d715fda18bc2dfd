"""Videos whose container states more frames than come out: trimmed films, long sound, broken downloads."""

import pytest

from blissmask.cachefile.read_headers import list_headers
from blissmask.dataset import frame_source
from blissmask.dataset.geometry import cover
from blissmask.tasks.run.plan import Action
from tests.builders.cache import (
    FRAMES,
    build,
    frame_names,
    listed_frames,
    metadata,
    moving_frames,
    on_videos,
    plan,
    video_folder,
)
from tests.builders.families import CACHE_SUFFIX
from tests.builders.pictures import save, tier_mask, write_video
from tests.builders.videos import cut_off, grey_video, long_sound, trimmed, uneven_video, with_damaged_frames


def with_caption(folder, name):
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    (folder / "videos" / f"{name}.txt").write_text("a film", encoding="utf-8")
    return folder / "videos" / name


@pytest.fixture
def film(tmp_path):
    """Return a folder with an MP4 that states 48 frames and shows 28."""
    trimmed(with_caption(tmp_path, "film").with_suffix(".mp4"), 48, first=12, kept=28)
    return tmp_path


def windows(folder):
    return sorted(header.path.name.split("_")[1] for header in list_headers(folder / "cache", CACHE_SUFFIX))


@pytest.mark.parametrize(
    ("extraction", "expected"),
    [
        ({"frame_extraction": "full"}, ["00000-025"]),
        ({"frame_extraction": "uniform", "frame_sample": 2}, ["00000-009", "00019-009"]),
        ({"frame_extraction": "chunk"}, ["00000-009", "00009-009", "00018-009"]),
    ],
)
def test_every_clip_of_a_trimmed_film_is_cached(film, extraction, expected):
    summary = build(film, **on_videos(film, target_frames=[9], **extraction))
    assert (summary.failures, windows(film)) == ([], expected)


def test_frames_under_longer_sound_are_cached(tmp_path):
    long_sound(with_caption(tmp_path, "film").with_suffix(".webm"), 48, share=0.5)
    summary = build(tmp_path, **on_videos(tmp_path, target_frames=[45, 49], frame_extraction="full"))
    assert (summary.failures, windows(tmp_path)) == ([], ["00000-045"])


def test_films_that_were_trimmed_or_have_longer_sound_are_no_news(film):
    long_sound(with_caption(film, "sound").with_suffix(".webm"), 48, share=0.5)
    assert plan(film, **on_videos(film, source_fps=24.0)).warnings == []


def test_masks_of_every_frame_of_a_trimmed_film_are_taken(film):
    for number in range(28):
        save(film / "masks" / "film" / f"{number:06}.png", tier_mask((64, 48)))
    summary = build(film, **on_videos(film, mask_directory=film / "masks", frame_extraction="full"))
    assert summary.details["mask_sources"] == {"alpha": 0, "file": 1, "full": 0}


def test_frames_are_counted_once_and_remembered(film, monkeypatch):
    settings = on_videos(film, frame_extraction="full")
    build(film, **settings)
    monkeypatch.setattr(frame_source, "read_info", lambda *_, **__: pytest.fail("the video was opened"))
    assert build(film, **settings).skipped == 1
    assert metadata(film, "film")["blissmask.source"] == "64x48 28 frames at 24 fps"


def test_a_folder_of_frames_has_no_rate_and_is_not_measured_again(tmp_path, monkeypatch):
    settings = listed_frames(tmp_path, frame_names(FRAMES))
    build(tmp_path, **settings)
    assert metadata(tmp_path, "clip")["blissmask.source"] == "64x48 12 frames"
    monkeypatch.setattr("blissmask.tasks.cache.planning.scan.measure", lambda _: pytest.fail("the folder was measured"))
    assert build(tmp_path, **settings).skipped == 1


def test_a_video_that_is_cut_off_fails_in_the_plan(tmp_path):
    video_folder(tmp_path, "whole", "cut")
    cut_off(tmp_path / "videos" / "cut.avi")
    planned = plan(tmp_path, **on_videos(tmp_path))
    [failed] = planned.having(Action.FAIL)
    assert failed.reason.startswith("the video is cut off: ")
    assert len(planned.having(Action.WRITE)) == 1


def test_a_video_that_is_damaged_to_its_end_is_named_with_the_frames(tmp_path):
    with_damaged_frames(with_caption(tmp_path, "film").with_suffix(".avi"), range(6, 12), 12)
    [warning] = plan(tmp_path, **on_videos(tmp_path)).warnings
    assert warning.where == (f"{tmp_path / 'videos' / 'film.avi'}: 6 frames, the first is 6",)


HALTING = [number / 32 for number in range(32)] + [2.0, 2.5, 3.0]
"""A second of 32 frames, then two seconds in which three are shown, as a screen recorder times them."""


@pytest.fixture
def recording(tmp_path):
    uneven_video(with_caption(tmp_path, "film").with_suffix(".mp4"), HALTING)
    return tmp_path


def test_frames_of_an_uneven_video_are_chosen_by_their_times(recording):
    [entry] = plan(recording, **on_videos(recording, source_fps=12.0, frame_extraction="full")).entries
    rate = entry.dataset.family.default_fps
    chosen = [HALTING[number] for number in entry.frame_indices]
    assert len(chosen) == int(3 * rate) // 4 * 4 + 1
    for tick, time in enumerate(chosen):
        assert abs(time - tick / rate) == min(abs(other - tick / rate) for other in HALTING)


def test_an_uneven_video_is_cached_and_fresh_the_second_time(recording):
    settings = on_videos(recording, source_fps=12.0, frame_extraction="full")
    assert build(recording, **settings).written == 1
    assert metadata(recording, "film")["blissmask.frames"].endswith(" by time")
    assert ", uneven" in metadata(recording, "film")["blissmask.source"]
    assert build(recording, **settings).skipped == 1


def test_an_uneven_video_is_named_where_all_its_frames_are_kept(recording):
    warnings = plan(recording, **on_videos(recording, frame_extraction="full")).warnings
    assert any("of a variable rate" in warning.what for warning in warnings)


def test_a_control_video_that_was_trimmed_repeats_its_last_frame(tmp_path):
    from blissmask.tasks.cache.reading.video_frames import ControlClip

    control = ControlClip(
        trimmed(tmp_path / "control.mp4", 24, first=0, kept=12), cover((64, 48), (64, 48)), [[10, 11, 12, 20]]
    )
    frames_FHW3 = control.read([10, 11, 12, 20])
    assert (frames_FHW3[1:] == frames_FHW3[1]).all()


def test_two_videos_of_one_film_keep_their_masks_apart(tmp_path):
    """A mask of the whole film does not fit the trimmed one that was made from it."""
    grey_video(with_caption(tmp_path, "whole").with_suffix(".mp4"), 48)
    trimmed(with_caption(tmp_path, "part").with_suffix(".mp4"), 48, first=12, kept=28)
    for name in ("whole", "part"):
        write_video(tmp_path / "masks" / f"{name}.avi", moving_frames(FRAMES) * 4)
    failed = plan(tmp_path, **on_videos(tmp_path, mask_directory=tmp_path / "masks")).having(Action.FAIL)
    assert [(item.inputs[0].stem, item.reason) for item in failed] == [("part", "the mask has 48 frames, the video 28")]
