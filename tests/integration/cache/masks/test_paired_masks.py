"""Masks with frames of their own: each lies on the frame it was made from, or the item is refused."""

import json

import numpy as np
import pytest
import torch

from blissmask.tasks.run.plan import Action
from tests.builders.cache import (
    FRAMES,
    build,
    entries,
    frame_names,
    listed_frames,
    moving_frames,
    on_videos,
    plan,
    video_folder,
)
from tests.builders.pictures import save, write_video

WHITE = np.full((48, 64), 255, np.uint8)
BLACK = np.zeros((48, 64), np.uint8)


@pytest.fixture
def clip(tmp_path):
    return video_folder(tmp_path, "clip")


def mask_frames(folder, names, *, white=(), size_wh=(64, 48)):
    """Write black masks of a clip, white ones for the names in ``white``."""
    for name in names:
        save(folder / "masks" / "clip" / name, np.full(size_wh[::-1], 255 if name in white else 0, np.uint8))
    return on_videos(folder, mask_directory=folder / "masks")


def weights_of_latent_frames(folder):
    return entries(folder)["clip"].weights_1fhw.mean(dim=(0, 2, 3)).tolist()


def refused(folder, settings):
    [item] = plan(folder, **settings).having(Action.FAIL)
    return item.reason


@pytest.mark.parametrize("count", [1, FRAMES // 2, FRAMES - 1, FRAMES + 1])
def test_a_folder_with_another_number_of_masks_than_the_video_has_frames_is_refused(clip, count):
    assert refused(clip, mask_frames(clip, frame_names(count))) == f"the mask has {count} frames, the video 12"


def test_a_mask_video_at_half_the_rate_is_refused(clip):
    write_video(clip / "masks" / "clip.avi", moving_frames(FRAMES // 2), fps=8.0)
    assert refused(clip, on_videos(clip, mask_directory=clip / "masks")) == "the mask has 6 frames, the video 12"


def test_a_refused_mask_names_mask_and_video_and_lets_the_others_go_on(clip):
    video_folder(clip, "other")
    settings = mask_frames(clip, frame_names(6))
    summary = build(clip, **settings)
    assert [failure.key for failure in summary.failures] == [str(clip / "videos" / "clip.avi")]
    assert sorted(entries(clip)) == ["other"]


def test_numbers_in_names_count_as_numbers(clip):
    settings = mask_frames(clip, [f"{number}.png" for number in range(FRAMES)], white=["10.png"])
    build(clip, **settings)
    assert weights_of_latent_frames(clip) == [0.0, 0.0]


def test_numbers_behind_a_word_count_as_numbers(clip):
    settings = mask_frames(clip, [f"frame_{number}.png" for number in range(FRAMES)], white=["frame_10.png"])
    build(clip, **settings)
    assert weights_of_latent_frames(clip) == [0.0, 0.0]


def test_masks_may_be_counted_from_any_number(clip):
    settings = mask_frames(clip, [f"{number}.png" for number in range(7, 7 + FRAMES)], white=["7.png"])
    build(clip, **settings)
    assert weights_of_latent_frames(clip) == [1.0, 0.0]


def test_masks_whose_numbers_leave_one_out_are_refused(clip):
    names = [f"{number:03}.png" for number in range(FRAMES + 1) if number != 5]
    assert refused(clip, mask_frames(clip, names)) == "frames of the mask are missing: 004.png is followed by 006.png"


def test_a_mask_frame_of_another_shape_costs_the_clips_that_hold_it(clip):
    settings = mask_frames(clip, frame_names(FRAMES), white=frame_names(FRAMES))
    save(clip / "masks" / "clip" / "000007.png", np.full((48, 48), 255, np.uint8))
    [failure] = build(clip, **{**settings, "frame_extraction": "chunk"}).failures
    assert failure.key.endswith(" frames 5-9")
    assert failure.problem.what.startswith(
        "aspect ratio differs by 33.3% (limit 1%): image 64x48, frame 7 of the mask 48x48"
    )


def test_frames_of_a_video_are_in_the_order_of_their_numbers(tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    build(short, **listed_frames(short, [f"{number}.png" for number in range(FRAMES)]))
    build(long, **listed_frames(long, frame_names(FRAMES)))
    assert torch.equal(entries(short)["clip"].latents_Cfhw, entries(long)["clip"].latents_Cfhw)


def test_masks_that_leave_out_the_same_numbers_as_the_frames_are_taken(tmp_path):
    names = [f"{number}.png" for number in range(0, 2 * FRAMES, 2)]
    settings = listed_frames(tmp_path, names)
    mask_frames(tmp_path, names, white=["0.png"])
    build(tmp_path, **{**settings, "mask_directory": tmp_path / "masks"})
    assert weights_of_latent_frames(tmp_path) == [1.0, 0.0]


def test_a_frame_of_another_size_than_the_first_costs_the_clip(tmp_path):
    settings = listed_frames(tmp_path, frame_names(5))
    save(tmp_path / "frames" / "clip" / "000003.png", np.zeros((64, 48, 3), np.uint8))
    [failure] = build(tmp_path, **settings).failures
    assert failure.problem.what == "frame 3 is 48x64, the first one 64x48"


def test_a_picture_whose_mask_has_frames_fails_in_the_plan(tmp_path):
    save(tmp_path / "photos" / "a.png", np.zeros((64, 96, 3), np.uint8))
    save(tmp_path / "masks" / "a" / "0.png", BLACK)
    line = {
        "image_path": str(tmp_path / "photos" / "a.png"),
        "caption": "a",
        "mask_path": str(tmp_path / "masks" / "a"),
    }
    (tmp_path / "list.jsonl").write_text(json.dumps(line), encoding="utf-8")
    assert (
        refused(tmp_path, {"image_jsonl_file": tmp_path / "list.jsonl"})
        == "the mask of a picture is a video or a folder"
    )
