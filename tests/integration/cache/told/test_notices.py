"""What `cache` says of a data set before it encodes: what is left out, masks nothing, or is taken for something it is not."""

import numpy as np
import pytest

from blissmask.errors import InputError
from tests.builders.cache import PHOTO_WH, build, captions, moving_frames, on_videos, plan
from tests.builders.families import TWO_EXPERTS, family_of
from tests.builders.pictures import half_mask, photo_folder, random_rgb, save, tier_mask, write_video

OPAQUE = np.full(PHOTO_WH[::-1], 255, np.uint8)


@pytest.fixture
def photos(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png", "b.png", "c.png"], size_wh=PHOTO_WH)
    captions(tmp_path, ["a", "b", "c"])
    return tmp_path


def told(folder, **settings):
    return {problem.what: problem for problem in plan(folder, **settings).warnings}


def rgba(folder, name, alpha_HW):
    save(folder / "photos" / name, np.dstack([random_rgb(PHOTO_WH), alpha_HW]))


def test_alpha_channels_that_mask_nothing_are_named_with_the_mask_files_they_stand_before(photos):
    rgba(photos, "a.png", OPAQUE)
    rgba(photos, "b.png", OPAQUE)
    rgba(photos, "c.png", half_mask(PHOTO_WH))
    save(photos / "masks" / "a.png", tier_mask(PHOTO_WH))
    settings = {"alpha_mask": True, "mask_directory": photos / "masks"}
    first, build_once, second = told(photos, **settings), build(photos, **settings), told(photos, **settings)
    assert build_once.details["mask_sources"] == {"alpha": 3, "file": 0, "full": 0}
    for warnings in (first, second):
        where = warnings["2 alpha channels are opaque everywhere, so nothing is masked"].where
        assert where == (
            f"{photos / 'photos' / 'a.png'}: {photos / 'masks' / 'a.png'} is not used",
            str(photos / "photos" / "b.png"),
        )


def test_alpha_channels_that_are_not_masks_are_not_spoken_of(photos):
    rgba(photos, "a.png", OPAQUE)
    save(photos / "masks" / "a.png", tier_mask(PHOTO_WH))
    assert not any("alpha channel" in what for what in told(photos, mask_directory=photos / "masks"))


def test_inverted_alpha_that_is_transparent_everywhere_masks_nothing(photos):
    rgba(photos, "a.png", np.zeros_like(OPAQUE))
    assert "1 alpha channel is transparent everywhere, so nothing is masked" in told(
        photos, alpha_mask=True, invert_mask=True
    )


def test_empty_alpha_that_was_filled_is_not_called_opaque_afterwards(photos):
    rgba(photos, "a.png", np.zeros_like(OPAQUE))
    settings = {"alpha_mask": True, "cache": {"empty_mask": "full"}}
    build(photos, **settings)
    assert not any("opaque" in what for what in told(photos, **settings))


def test_photos_of_kinds_that_are_not_read_are_named(photos):
    for name in ("d.dng", "E.TIF", "f.jxl"):
        (photos / "photos" / name).write_bytes(b"?")
    warning = told(photos)["3 files are of kinds that are not read, and left out"]
    assert warning.where == tuple(str(photos / "photos" / name) for name in ("E.TIF", "d.dng", "f.jxl"))


def test_a_raw_file_beside_its_photo_is_not_missed(photos):
    (photos / "photos" / "A.dng").write_bytes(b"?")
    assert not any("not read" in what for what in told(photos))


def clips(folder, rates):
    for name, fps in rates.items():
        write_video(folder / "videos" / f"{name}.avi", moving_frames(), fps=fps)
        (folder / "videos" / f"{name}.txt").write_text("a clip", encoding="utf-8")
    return folder


def test_videos_of_a_third_rate_than_source_fps_are_named(tmp_path):
    clips(tmp_path, {"a": 30.0, "b": 30000 / 1001, "c": 24.0})
    settings = on_videos(tmp_path, source_fps=30.0)
    first, _, second = told(tmp_path, **settings), build(tmp_path, **settings), told(tmp_path, **settings)
    for warnings in (first, second):
        warning = warnings["1 video is at another rate than `source_fps`, 30; frames are dropped as if it were right"]
        assert warning.where == (f"{tmp_path / 'videos' / 'c.avi'}: 24 fps",)


def test_videos_much_faster_than_the_family_are_named_when_no_rate_is_given(tmp_path):
    clips(tmp_path, {"a": 16.0, "b": 12.0, "c": 18.0, "d": 30.0})
    warning = told(tmp_path, **on_videos(tmp_path))[
        f"1 video is faster than the {family_of(TWO_EXPERTS).default_fps:.0f} fps of `{TWO_EXPERTS}`; with all frames kept, motion becomes slow motion"
    ]
    assert warning.where == (f"{tmp_path / 'videos' / 'd.avi'}: 30 fps",)


def test_the_rate_of_single_frames_does_not_matter(tmp_path):
    clips(tmp_path, {"d": 30.0})
    assert told(tmp_path, **on_videos(tmp_path, target_frames=[1])) == {}


def test_videos_that_are_too_short_for_some_of_the_clips_are_named(tmp_path):
    clips(tmp_path, {"short": 16.0, "long": 16.0})
    write_video(tmp_path / "videos" / "long.avi", [*moving_frames(), *moving_frames()], fps=16.0)
    settings = {**on_videos(tmp_path), "target_frames": [1, 17]}
    warning = told(tmp_path, **settings)["1 video is too short for clips of 17 frames"]
    assert warning.where == (str(tmp_path / "videos" / "short.avi"),)
    assert "17 frames at 16 fps are 1.1 seconds" in warning.fix


def test_masks_that_belong_to_no_item_are_hinted_at_where_masks_are_missed(photos):
    save(photos / "masks" / "a_mask.png", tier_mask(PHOTO_WH))
    with pytest.raises(InputError, match="no mask found for 3 items") as caught:
        plan(photos, mask_directory=photos / "masks", require_mask=True)
    assert (
        "1 of the masks belong to no item, e.g. `a_mask.png`: a mask is called like its photo"
        in caught.value.problems[0].fix
    )
