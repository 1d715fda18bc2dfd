"""What a data set of clips is read for, it is read for once: frames are decoded once, contents are hashed once."""

import hashlib
import os

import pytest

from blissmask.cachefile.read_headers import list_headers
from blissmask.config.model import Config
from blissmask.dataset import frame_source, pixel_mask
from blissmask.errors import MediaError
from blissmask.media import mask_picture
from blissmask.tasks.cache import encode_latents
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.reading import mask_weights
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import Action, RunContext
from blissmask.tasks.train.data.stale import stale_warnings
from blissmask.training.data.cached_set import read_set
from tests.builders.cache import FRAMES, build, config, frame_names, moving_frames, on_videos, plan, video_folder
from tests.builders.families import CACHE_SUFFIX, family_of
from tests.builders.pictures import half_mask, save, tier_mask, write_video


@pytest.fixture
def clip(tmp_path):
    return video_folder(tmp_path, "clip")


def count_frames(monkeypatch):
    """Note which frames are decoded of which video."""
    decoded = {}
    whole = frame_source.read_frames

    def counting(path, indices):
        for number, rgb_HW3 in zip(sorted(indices), whole(path, indices), strict=True):
            decoded.setdefault(path, []).append(number)
            yield rgb_HW3

    monkeypatch.setattr(frame_source, "read_frames", counting)
    return decoded


def test_a_video_is_decoded_once_for_all_its_clips(clip, monkeypatch):
    decoded = count_frames(monkeypatch)
    build(clip, **on_videos(clip, frame_extraction="slide", target_frames=[1, 5]))
    assert decoded == {clip / "videos" / "clip.avi": list(range(FRAMES))}


def test_a_mask_video_is_decoded_once_for_all_clips(clip, monkeypatch):
    write_video(clip / "masks" / "clip.avi", moving_frames())
    decoded = count_frames(monkeypatch)
    build(clip, **on_videos(clip, frame_extraction="slide", mask_directory=clip / "masks"))
    looked_at = [0, 4, 8]  # by the plan, for values that make no sense
    assert decoded[clip / "masks" / "clip.avi"] == [*looked_at, *range(FRAMES)]


def test_a_damaged_frame_costs_only_the_clips_that_hold_it(clip, monkeypatch):
    whole = frame_source.read_frames

    def damaged(path, indices):
        for number, rgb_HW3 in zip(sorted(indices), whole(path, indices), strict=True):
            if number == 7:
                raise MediaError("frame 7 of the video is damaged", where=[path])
            yield rgb_HW3

    monkeypatch.setattr(frame_source, "read_frames", damaged)
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
    run_cache(plan_cache(settings), RunContext())
    hashed = []
    whole = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, *rest: hashed.append(file.name) or whole(file, *rest))
    os.utime(clip / "videos" / "clip.avi")
    again = plan_cache(settings)
    assert len(again.having(Action.SKIP)) == len(again.items) == 2 * (FRAMES - 5 + 1)
    assert hashed == [str(clip / "videos" / "clip.avi")]


def masked_by_frames(folder, **settings):
    """Write one mask per frame; return the settings of clips at every start."""
    for name in frame_names(FRAMES):
        save(folder / "masks" / "clip" / name, tier_mask((64, 48)))
    return on_videos(folder, frame_extraction="slide", mask_directory=folder / "masks", **settings)


def count_listings(monkeypatch, folder):
    """Note how often a folder is listed, by whatever means."""
    listed = []
    for name in ("scandir", "listdir"):
        whole = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path=".", whole=whole: listed.append(str(path)) or whole(path))
    return lambda: listed.count(str(folder))


def test_a_plan_lists_the_masks_of_a_film_once_for_all_its_clips(clip, monkeypatch):
    settings = masked_by_frames(clip)
    build(clip, **settings)
    listings = count_listings(monkeypatch, clip / "masks" / "clip")
    again = plan(clip, **settings)
    assert len(again.having(Action.SKIP)) == FRAMES - 5 + 1
    assert listings() == 1


def test_train_lists_the_masks_of_a_film_once_for_all_its_clips(clip, monkeypatch):
    settings = masked_by_frames(clip)
    build(clip, **settings)
    family = family_of(config(clip, **settings).model.arch)
    cached = read_set(1, clip / "cache", family, batch_size=1, repeats=1)
    listings = count_listings(monkeypatch, clip / "masks" / "clip")
    assert stale_warnings(config(clip, **settings), family, [cached]) == []
    assert listings() == 1


def count_decoded(monkeypatch, folder):
    """Note which masks are decoded."""
    decoded = []
    whole = mask_picture.read_mask_picture
    for module in (mask_picture, mask_weights):
        monkeypatch.setattr(module, "read_mask_picture", lambda path: decoded.append(path) or whole(path))
    return decoded


def test_the_one_mask_of_a_film_is_decoded_once_in_the_plan_and_once_in_the_run(clip, monkeypatch):
    save(clip / "masks" / "clip.png", tier_mask((64, 48)))
    decoded = count_decoded(monkeypatch, clip)
    settings = config(clip, **on_videos(clip, frame_extraction="slide", mask_directory=clip / "masks"))
    planned = plan_cache(settings)
    assert decoded == [clip / "masks" / "clip.png"]
    run_cache(planned, RunContext())
    assert decoded == [clip / "masks" / "clip.png"] * 2


def test_a_plan_averages_weights_and_no_shares(clip, monkeypatch):
    save(clip / "masks" / "clip.png", tier_mask((64, 48)))
    settings = on_videos(clip, mask_directory=clip / "masks")
    monkeypatch.setattr(pixel_mask, "_fitted_shares", lambda *_: pytest.fail("shares were averaged"))
    [entry] = plan(clip, **settings).entries
    monkeypatch.undo()
    build(clip, **settings)
    [header] = list_headers(clip / "cache", CACHE_SUFFIX)
    assert header.metadata["blissmask.mean_weight"] == f"{entry.mean_weight:.6f}"


@pytest.mark.parametrize("change", ["masks", "videos"])
def test_clips_are_worked_on_by_a_few_threads_only(clip, monkeypatch, change):
    settings = masked_by_frames(clip)
    build(clip, **settings)
    if change == "masks":
        save(clip / "masks" / "clip" / "000003.png", half_mask((64, 48)))
    else:
        write_video(clip / "videos" / "clip.avi", moving_frames()[::-1])
    jobs = {}
    whole = encode_latents.work_through
    monkeypatch.setattr(
        encode_latents,
        "work_through",
        lambda *args, **how: jobs.update({how["phase"]: args[2].jobs}) or whole(*args, **how),
    )
    run_cache(plan_cache(config(clip, **settings)), RunContext(jobs=16))
    assert jobs == {"Refreshing masks" if change == "masks" else "Encoding": 3}
