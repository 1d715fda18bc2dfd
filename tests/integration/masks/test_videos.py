"""`masks`: a clip becomes a folder of frame masks or one mask, and is continued where it was left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import InputError
from blissmask.media.mask_picture import read_grey
from blissmask.media.png import read_note, write_png_grey
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.run.plan import Action, Kept
from tests.builders.masks import (
    ColourBackend,
    clip,
    expected,
    in_other_light,
    lines,
    make,
    person,
)
from tests.builders.pictures import save, tree


def test_video_becomes_a_folder_of_one_mask_per_frame(folder: Path) -> None:
    clip(folder)
    make(folder)
    names = sorted(path.name for path in (folder / "masks" / "clip").glob("*.png"))
    assert names == [f"{number:06}.png" for number in range(5)]
    assert (read_grey(folder / "masks" / "clip" / "000003.png") == np.roll(expected((48, 32)), -6, axis=1)).all()


def test_static_mask_of_a_video_is_the_maximum_over_its_frames(folder: Path) -> None:
    clip(folder)
    make(folder, video_masks="static")
    frames = [np.roll(expected((48, 32)), -2 * number, axis=1) for number in range(5)]
    assert (read_grey(folder / "masks" / "clip.png") == np.maximum.reduce(frames)).all()


def test_frames_between_those_looked_at_repeat_the_mask(folder: Path, backend: ColourBackend) -> None:
    clip(folder)
    make(folder, video_every=2)
    masks = [read_grey(folder / "masks" / "clip" / f"{number:06}.png") for number in range(5)]
    assert backend.calls == 2 + 3
    assert (masks[0] == masks[1]).all()
    assert not (masks[1] == masks[2]).all()


def test_unfinished_clip_is_continued_with_the_frames_that_are_missing(folder: Path, backend: ColourBackend) -> None:
    clip(folder)
    make(folder)
    whole, calls = tree(folder / "masks"), backend.calls
    for name in (".blissmask.json", "000003.png", "000004.png"):
        (folder / "masks" / "clip" / name).unlink()
    assert lines(folder)["clip"] == (Action.WRITE, "48x32, 5 frames, unfinished")
    make(folder)
    assert backend.calls == calls + 2
    assert tree(folder / "masks") == whole


def test_finished_clip_is_skipped_also_when_its_time_moved(folder: Path) -> None:
    path = clip(folder)
    make(folder)
    os.utime(path, (1, 1))
    assert lines(folder)["clip"] == (Action.SKIP, FRESH)


def test_shorter_version_of_a_clip_leaves_no_old_frames_behind(folder: Path) -> None:
    clip(folder, 5)
    make(folder)
    clip(folder, 3)
    make(folder)
    assert len(list((folder / "masks" / "clip").glob("*.png"))) == 3
    assert json.loads((folder / "masks" / "clip" / ".blissmask.json").read_text())["frame_count"] == 3


def test_edited_frame_survives_although_the_clip_changed(folder: Path) -> None:
    clip(folder, 4)
    make(folder)
    edited = folder / "masks" / "clip" / "000001.png"
    save(edited, np.full((32, 48), 7, dtype=np.uint8))
    clip(folder, 5)
    make(folder)
    assert (read_grey(edited) == 7).all()
    assert len(list((folder / "masks" / "clip").glob("*.png"))) == 5


def of_another_command(folder: Path, *names: str) -> None:
    """Let the files of the clip say that `instance` wrote them."""
    for name in names or [path.name for path in (folder / "masks" / "clip").iterdir()]:
        path = folder / "masks" / "clip" / name
        if path.suffix == ".json":
            path.write_text(json.dumps({**json.loads(path.read_text()), "command": "instance"}))
        else:
            note = read_note(path)
            assert note is not None
            write_png_grey(path, read_grey(path), note={**note.content, "command": "instance"})


def test_clip_finished_by_another_command_is_kept(folder: Path) -> None:
    clip(folder)
    make(folder)
    of_another_command(folder)
    before = tree(folder / "masks" / "clip")
    assert lines(folder)["clip"] == (Action.SKIP, Kept.FOREIGN)
    make(folder)
    assert tree(folder / "masks" / "clip") == before


@pytest.mark.parametrize("names", [(), ("000000.png",), ("000002.png",)], ids=["all", "first", "one"])
def test_clip_begun_by_another_command_is_kept(folder: Path, names: tuple[str, ...]) -> None:
    clip(folder)
    make(folder)
    (folder / "masks" / "clip" / ".blissmask.json").unlink()
    of_another_command(folder, *names)
    assert lines(folder)["clip"] == (Action.SKIP, Kept.FOREIGN)


def test_record_of_ours_over_the_frames_of_another_command_is_not_believed(folder: Path) -> None:
    clip(folder)
    make(folder)
    of_another_command(folder, *(f"{number:06}.png" for number in range(5)))
    assert lines(folder)["clip"] == (Action.SKIP, Kept.FOREIGN)


def test_edited_first_frame_does_not_stop_an_unfinished_clip(folder: Path) -> None:
    clip(folder)
    make(folder)
    (folder / "masks" / "clip" / ".blissmask.json").unlink()
    save(folder / "masks" / "clip" / "000000.png", np.full((32, 48), 7, dtype=np.uint8))
    assert lines(folder)["clip"] == (Action.WRITE, "48x32, 5 frames, unfinished")


def test_record_nested_too_deep_to_be_read_is_none(folder: Path) -> None:
    clip(folder)
    make(folder)
    (folder / "masks" / "clip" / ".blissmask.json").write_text("[" * 100_000)
    assert lines(folder)["clip"] == (Action.WRITE, "48x32, 5 frames, unfinished")


@pytest.mark.parametrize("force", [False, True])
def test_file_with_the_name_of_the_clips_folder_fails_the_clip_only(folder: Path, *, force: bool) -> None:
    clip(folder)
    (folder / "masks").mkdir()
    (folder / "masks" / "clip").write_bytes(b"mine")
    summary = make(folder, force=force)
    [failure] = summary.failures
    assert failure.key == "clip"
    assert failure.problem.line == (
        f"{folder / 'masks' / 'clip'}: a file stands where the folder of the clip's masks would go; rename or remove it"
    )
    assert summary.written == 2
    assert (folder / "masks" / "clip").read_bytes() == b"mine"


def test_folder_of_someone_elses_frames_is_kept(folder: Path) -> None:
    clip(folder)
    save(folder / "masks" / "clip" / "000000.png", expected((48, 32)))
    assert lines(folder)["clip"] == (Action.SKIP, Kept.FOREIGN)


def live_photo(folder: Path) -> Path:
    """Write the photo that belongs to the clip, as phones export Live Photos."""
    clip(folder)
    return save(folder / "photos" / "clip.png", in_other_light(person((48, 32)), 60, 180))


def test_photo_and_clip_of_a_live_photo_get_masks_each(folder: Path) -> None:
    live_photo(folder)
    summary = make(folder)
    assert (summary.failures, summary.warnings) == ([], [])
    assert (read_grey(folder / "masks" / "clip.png") == expected((48, 32))).all()
    assert len(list((folder / "masks" / "clip").glob("*.png"))) == 5
    assert {key: action for key, (action, _) in lines(folder).items() if key.startswith("clip")} == {
        "clip.png": Action.SKIP,
        "clip.avi": Action.SKIP,
    }


@pytest.mark.parametrize(("media", "made"), [("photos", ["clip.png"]), ("videos", ["clip"])])
def test_one_kind_of_a_live_photo_is_taken_alone(folder: Path, media: str, made: list[str]) -> None:
    live_photo(folder)
    make(folder, media=media, video_masks="static" if media == "photos" else "frames")
    assert sorted(path.name for path in (folder / "masks").glob("clip*")) == made


def test_one_mask_for_the_whole_clip_would_be_the_photo_s(folder: Path) -> None:
    live_photo(folder)
    with pytest.raises(InputError, match="would share one mask") as caught:
        lines(folder, video_masks="static")
    assert "--media photos" in caught.value.problems[0].fix
