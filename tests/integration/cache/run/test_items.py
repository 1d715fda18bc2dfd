"""`cache` on clips, listed data sets, control pictures and one-frame items."""

import json

import numpy as np
import pytest
import torch

from blissmask.cachefile.read_headers import list_headers
from blissmask.errors import InputError, UsageError
from blissmask.tasks.run.plan import Action
from tests.builders.cache import (
    FRAMES,
    PHOTO_WH,
    build,
    captions,
    entries,
    metadata,
    moving_frames,
    on_videos,
    plan,
    video_folder,
)
from tests.builders.families import CACHE_SUFFIX, ONE_FRAME, TWO_EXPERTS
from tests.builders.pictures import photo_folder, random_rgb, save, tier_mask, write_video


@pytest.fixture
def clip(tmp_path):
    return video_folder(tmp_path, "clip")


def listed(folder, lines, name="list.jsonl"):
    path = folder / name
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return path


def test_a_video_becomes_clips_named_by_their_frames(clip):
    build(clip, **on_videos(clip, frame_extraction="chunk"))
    names = sorted(path.name for path in (clip / "cache").iterdir())
    assert names == [
        f"clip_00000-005_0064x0048_{CACHE_SUFFIX}.safetensors",
        f"clip_00005-005_0064x0048_{CACHE_SUFFIX}.safetensors",
        f"clip_{CACHE_SUFFIX}_te.safetensors",
    ]


def test_a_clip_has_the_latent_frames_of_its_length(clip):
    build(clip, **on_videos(clip))
    assert entries(clip)["clip"].latents_Cfhw.shape == (16, 2, 6, 8)


def test_a_clip_says_how_many_frames_it_has(clip):
    build(clip, **on_videos(clip))
    assert metadata(clip, "clip")["frame_count"] == "5"


def test_clips_are_fresh_in_a_second_run(clip):
    build(clip, **on_videos(clip, frame_extraction="chunk"))
    assert build(clip, **on_videos(clip, frame_extraction="chunk")).skipped == 2


def test_another_frame_rate_is_encoded_anew(clip):
    build(clip, **on_videos(clip))
    assert [item.reason for item in plan(clip, **on_videos(clip, source_fps=32.0)).items] == ["frames changed"]


def test_frames_are_dropped_to_the_rate_of_the_family(clip):
    [entry] = plan(clip, **on_videos(clip, source_fps=32.0)).entries
    assert entry.frame_indices == [0, 2, 4, 6, 8]


def test_too_short_videos_are_named(clip):
    told = [problem.what for problem in plan(clip, **on_videos(clip, target_frames=[21])).warnings]
    assert told == ["1 item too short for any clip"]


def test_frame_counts_that_are_rounded_are_told(clip):
    told = [problem.what for problem in plan(clip, **on_videos(clip, target_frames=[8])).warnings]
    assert told == ["`target_frames` are rounded to 4k+1: 8 becomes 5"]


def test_a_still_mask_holds_for_every_latent_frame(clip):
    save(clip / "masks" / "clip.png", tier_mask((64, 48)))
    build(clip, **on_videos(clip, mask_directory=clip / "masks"))
    weights = entries(clip)["clip"].weights_1fhw
    assert weights.shape == (1, 2, 6, 8)
    assert torch.equal(weights[:, 0], weights[:, 1])


def test_a_moving_mask_is_averaged_over_the_causal_groups(clip):
    for number in range(FRAMES):
        # Frame 0 alone is the first latent frame; of frames 1 to 4, which are the second, one is white.
        save(clip / "masks" / "clip" / f"{number:06}.png", np.full((48, 64), 255 if number == 4 else 0, np.uint8))
    build(clip, **on_videos(clip, mask_directory=clip / "masks"))
    assert entries(clip)["clip"].weights_1fhw.mean(dim=(0, 2, 3)).tolist() == [0.0, 0.25]


def test_a_mask_video_does_what_a_folder_of_masks_does(clip):
    masks = [np.full((48, 64, 3), 255 if number == 0 else 0, np.uint8) for number in range(FRAMES)]
    write_video(clip / "masks" / "clip.avi", masks)
    build(clip, **on_videos(clip, mask_directory=clip / "masks"))
    assert entries(clip)["clip"].weights_1fhw.mean(dim=(0, 2, 3)).tolist() == pytest.approx([1.0, 0.0], abs=0.01)


def test_shares_of_a_moving_mask_follow_its_frames(clip):
    for number in range(FRAMES):
        save(clip / "masks" / "clip" / f"{number:06}.png", np.full((48, 64), 255 if number < 3 else 128, np.uint8))
    build(clip, **on_videos(clip, mask_directory=clip / "masks"))
    face, body = entries(clip)["clip"].regions_4fhw.mean(dim=(2, 3))[:2].tolist()
    assert (face, body) == ([1.0, 0.5], [0.0, 0.5])


def test_a_mask_with_too_few_frames_costs_the_item(clip):
    for number in range(3):
        save(clip / "masks" / "clip" / f"{number:06}.png", tier_mask((64, 48)))
    summary = build(clip, **on_videos(clip, mask_directory=clip / "masks"))
    assert summary.failures[0].problem.what == "the mask has 3 frames, the video 12"


def moving_masks(folder, grey_of):
    for number in range(FRAMES):
        save(folder / "masks" / "clip" / f"{number:06}.png", np.full((48, 64), grey_of(number), np.uint8))
    return folder / "masks"


def told_of(summary):
    return [(problem.what, problem.where) for problem in summary.warnings]


def test_a_clip_whose_moving_mask_is_empty_is_named_by_its_frames(clip):
    masks = moving_masks(clip, lambda number: 255 if number > 4 else 0)
    summary = build(clip, **on_videos(clip, mask_directory=masks, frame_extraction="chunk"))
    what = "1 mask is zero everywhere; nothing would be learned from it"
    assert told_of(summary) == [(what, (f"{masks / 'clip'} frames 0-4",))]


def test_an_empty_moving_mask_is_told_of_in_the_next_run_too(clip):
    settings = on_videos(clip, mask_directory=moving_masks(clip, lambda number: 0))
    first, second = (told_of(build(clip, **settings)) for _ in range(2))
    # The first run has looked at the mask, too, and says what may be the matter with it.
    assert second == [(what, where) for what, where in first if "zero everywhere" in what] != []


def test_an_empty_moving_mask_fails_the_clip_when_asked_to(clip):
    settings = on_videos(clip, mask_directory=moving_masks(clip, lambda number: 0))
    [failure] = build(clip, cache={"empty_mask": "error"}, **settings).failures
    assert failure.problem.what == "the mask is zero everywhere in frames 0-4"
    assert "--empty-mask full" in failure.problem.fix


def test_a_picture_whose_mask_is_a_folder_costs_its_item(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png"], size_wh=PHOTO_WH)
    save(tmp_path / "masks" / "a" / "0.png", tier_mask(PHOTO_WH))
    line = {
        "image_path": str(tmp_path / "photos" / "a.png"),
        "caption": "a",
        "mask_path": str(tmp_path / "masks" / "a"),
    }
    [failure] = build(tmp_path, image_jsonl_file=listed(tmp_path, [line])).failures
    assert failure.problem.what == "the mask of a picture is a video or a folder"


def test_required_masks_count_for_videos_too(clip):
    (clip / "masks").mkdir()
    with pytest.raises(InputError, match="require_mask=true but no mask found for"):
        plan(clip, **on_videos(clip, mask_directory=clip / "masks", require_mask=True))


def test_a_folder_cannot_be_its_own_mask_folder(clip):
    with pytest.raises(UsageError, match="`mask_directory` is the folder of the photos or videos"):
        plan(clip, **on_videos(clip, mask_directory=clip / "videos"))


def test_a_folder_of_frames_is_a_video(tmp_path):
    for number, frame in enumerate(moving_frames(5)):
        save(tmp_path / "frames" / "shot" / f"{number}.png", frame)
    lines = [{"video_path": str(tmp_path / "frames" / "shot"), "caption": "a shot"}]
    build(tmp_path, video_jsonl_file=listed(tmp_path, lines), target_frames=[5])
    assert entries(tmp_path)["shot"].latents_Cfhw.shape[1] == 2


def test_a_video_that_is_cut_off_costs_its_item(clip):
    path = clip / "videos" / "clip.avi"
    path.write_bytes(path.read_bytes()[:3000])
    assert build(clip, **on_videos(clip)).exit_code == 3


def test_a_list_gives_photos_with_their_captions(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    lines = [{"image_path": str(tmp_path / "photos" / f"{stem}.png"), "caption": f"photo {stem}"} for stem in "ab"]
    [first, second] = plan(tmp_path, image_jsonl_file=listed(tmp_path, lines)).texts
    assert (first.caption, second.caption) == ("photo a", "photo b")


def test_a_list_may_name_masks(tmp_path):
    save(tmp_path / "photos" / "a.png", random_rgb(PHOTO_WH))
    mask = save(tmp_path / "other" / "name.png", tier_mask(PHOTO_WH))
    lines = [{"image_path": str(tmp_path / "photos" / "a.png"), "caption": "", "mask_path": str(mask)}]
    assert build(tmp_path, image_jsonl_file=listed(tmp_path, lines)).details["mask_sources"] == {
        "alpha": 0,
        "file": 1,
        "full": 0,
    }


def test_items_of_a_list_without_mask_count_as_full_weight_beside_those_with(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    mask = save(tmp_path / "other" / "name.png", tier_mask(PHOTO_WH))
    lines = [{"image_path": str(tmp_path / "photos" / f"{stem}.png"), "caption": ""} for stem in "ab"]
    lines[0]["mask_path"] = str(mask)
    assert build(tmp_path, image_jsonl_file=listed(tmp_path, lines)).details["mask_sources"] == {
        "alpha": 0,
        "file": 1,
        "full": 1,
    }


def test_a_listed_data_set_needs_a_cache_folder(tmp_path):
    with pytest.raises(UsageError, match="needs `cache_directory`"):
        plan(tmp_path, image_jsonl_file=listed(tmp_path, []), cache_directory=None)


def test_all_lines_that_cannot_be_used_are_named(tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"image_path": "a.png"}\nno json\n{"image_path": 1, "caption": ""}\n{"image": "a"}\n'
        '{"image_path": "a.png", "caption": "", "mask_path": ""}\n{"image_path": "a.png", "caption": "\\ud83d"}\n',
        encoding="utf-8",
    )
    with pytest.raises(InputError) as caught:
        plan(tmp_path, image_jsonl_file=path)
    assert [place.partition(": ")[2].partition(":")[0] for place in caught.value.problems[0].where] == [
        "`caption` is missing",
        "not JSON",
        "`image_path` must be text",
        "`image_path` is missing, is it meant by `image`?",
        "`mask_path` is empty",
        "`caption` holds half of a character, `\\ud83d`",
    ]


@pytest.fixture
def edits(tmp_path):
    """Return a folder with one photo and one control picture."""
    photo_folder(tmp_path / "photos", ["a.png"], size_wh=PHOTO_WH)
    photo_folder(tmp_path / "controls", ["a.png"], size_wh=(48, 48))
    captions(tmp_path, ["a"])
    return tmp_path


def one_frame(folder, **settings):
    family, task = ONE_FRAME
    indices = {"fp_1f_clean_indices": [0], "fp_1f_target_index": 1}
    return {
        "control_directory": folder / "controls",
        "arch": family,
        "task": task,
        "cache": {"one_frame": True},
        **indices,
        **settings,
    }


def test_one_frame_items_hold_a_slot_per_picture(edits):
    build(edits, **one_frame(edits))
    [header] = list_headers(edits / "cache", CACHE_SUFFIX)
    assert {name: shape for name, (_, shape) in header.contents.items() if name in ("latents", "f_indices")} == {
        "latents": (16, 2, 6, 8),
        "f_indices": (2,),
    }


def test_the_mask_of_a_one_frame_item_is_the_targets(edits):
    save(edits / "masks" / "a.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    build(edits, **one_frame(edits, mask_directory=edits / "masks"))
    entry = entries(edits)["a"]
    assert entry.weights_1fhw.mean(dim=(0, 2, 3)).tolist() == [1.0, 0.0]
    assert entry.regions_4fhw.sum(dim=0).mean(dim=(1, 2)).tolist() == [0.0, 1.0]


def test_the_target_slot_is_its_place_among_the_sorted_indices(edits):
    save(edits / "masks" / "a.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    build(edits, **one_frame(edits, mask_directory=edits / "masks", fp_1f_clean_indices=[9], fp_1f_target_index=2))
    assert entries(edits)["a"].weights_1fhw.mean(dim=(0, 2, 3)).tolist() == [0.0, 1.0]


def test_one_frame_needs_its_time_indices(edits):
    with pytest.raises(UsageError, match="needs `fp_1f_clean_indices`"):
        plan(edits, **one_frame(edits, fp_1f_clean_indices=None))


def test_one_frame_is_refused_where_the_task_has_none(edits):
    with pytest.raises(UsageError, match="has no one-frame training for task `t2v`"):
        plan(edits, **one_frame(edits, task="t2v"))


def test_control_pictures_are_refused_where_the_family_takes_none(edits):
    with pytest.raises(InputError, match=f"1 item with control pictures, and `{TWO_EXPERTS}` takes none"):
        plan(edits, control_directory=edits / "controls")


def test_a_photo_without_control_picture_is_named(edits):
    save(edits / "photos" / "b.png", random_rgb(PHOTO_WH))
    captions(edits, ["b"])
    with pytest.raises(InputError, match="no control picture in"):
        plan(edits, control_directory=edits / "controls")


def test_a_changed_control_picture_is_encoded_anew(edits):
    build(edits, **one_frame(edits))
    save(edits / "controls" / "a.png", random_rgb((48, 48), seed=5))
    assert [item.reason for item in plan(edits, **one_frame(edits)).having(Action.WRITE)] == ["file changed"]
