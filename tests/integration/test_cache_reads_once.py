"""What a data set of clips is read for, it is read for once: frames are decoded once, contents are hashed once."""

import hashlib
import os

import pytest

from blissmask.config.model import Config
from blissmask.dataset import footage
from blissmask.errors import MediaError
from blissmask.tasks.cache import build_cache
from blissmask.tasks.plan import Action, RunContext
from tests.builders import write_video
from tests.cache_builders import FRAMES, build, config, moving_frames, on_videos, video_folder


@pytest.fixture
def clip(tmp_path):
    return video_folder(tmp_path, "clip")


def count_frames(monkeypatch):
    """Note which frames are decoded of which video."""
    decoded = {}
    whole = footage.read_frames

    def counting(path, indices):
        for number, rgb_HW3 in zip(sorted(indices), whole(path, indices), strict=True):
            decoded.setdefault(path, []).append(number)
            yield rgb_HW3

    monkeypatch.setattr(footage, "read_frames", counting)
    return decoded


def test_a_video_is_decoded_once_for_all_its_clips(clip, monkeypatch):
    decoded = count_frames(monkeypatch)
    build(clip, **on_videos(clip, frame_extraction="slide", target_frames=[1, 5]))
    assert decoded == {clip / "videos" / "clip.avi": list(range(FRAMES))}


def test_a_mask_video_is_decoded_once_for_all_clips(clip, monkeypatch):
    write_video(clip / "masks" / "clip.avi", moving_frames())
    decoded = count_frames(monkeypatch)
    build(clip, **on_videos(clip, frame_extraction="slide", mask_directory=clip / "masks"))
    assert decoded[clip / "masks" / "clip.avi"] == list(range(FRAMES))


def test_a_damaged_frame_costs_only_the_clips_that_hold_it(clip, monkeypatch):
    whole = footage.read_frames

    def damaged(path, indices):
        for number, rgb_HW3 in zip(sorted(indices), whole(path, indices), strict=True):
            if number == 7:
                raise MediaError("frame 7 of the video is damaged", where=[path])
            yield rgb_HW3

    monkeypatch.setattr(footage, "read_frames", damaged)
    summary = build(clip, **on_videos(clip, frame_extraction="slide"))
    assert [failure.key.rpartition(" ")[2] for failure in summary.failures] == ["3-7", "4-8", "5-9", "6-10", "7-11"]


def two_data_sets(folder):
    """Return a configuration in which two data sets, at two sizes, hold the same videos."""
    once = config(folder, **on_videos(folder, frame_extraction="slide")).model_dump()
    [small] = once["datasets"]
    large = {**small, "resolution": [96, 64], "cache_directory": folder / "large"}
    return Config.model_validate({**once, "datasets": [small, large]})


def test_a_film_is_hashed_once_whatever_holds_its_clips(clip, monkeypatch):
    settings = two_data_sets(clip)
    build_cache.run(build_cache.plan(settings), RunContext())
    hashed = []
    whole = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, *rest: hashed.append(file.name) or whole(file, *rest))
    os.utime(clip / "videos" / "clip.avi")
    again = build_cache.plan(settings)
    assert len(again.having(Action.SKIP)) == len(again.items) == 2 * (FRAMES - 5 + 1)
    assert hashed == [str(clip / "videos" / "clip.avi")]
