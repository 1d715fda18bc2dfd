"""`masks`: a clip whose masks change from a folder of frames to one PNG, or back, does not keep both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blissmask.dataset.discover import match_masks
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.masks.plan import plan
from blissmask.tasks.run.plan import Action
from tests.builders.masks import ColourBackend, clip, config, lines, make, person
from tests.builders.pictures import save, tree

FORMS = [("static", "frames"), ("frames", "static")]
NAMES = {"static": "clip.png", "frames": "clip"}


@pytest.fixture
def folder(tmp_path: Path, backend: ColourBackend) -> Path:
    clip(tmp_path)
    return tmp_path


def masks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "masks").iterdir() if not path.name.startswith(".blissmask.lock"))


@pytest.mark.parametrize(("before", "now"), FORMS)
def test_masks_in_the_other_form_are_replaced_and_the_plan_says_so(folder: Path, before: str, now: str) -> None:
    make(folder, video_masks=before)
    assert lines(folder, video_masks=now)["clip"] == (Action.WRITE, f"48x32, 5 frames, replaces `{NAMES[before]}`")
    assert masks(folder) == [NAMES[before]]
    assert make(folder, video_masks=now).written == 1
    assert masks(folder) == [NAMES[now]]
    assert list(match_masks(folder / "masks", videos=True)) == ["clip"]
    assert lines(folder, video_masks=now)["clip"] == (Action.SKIP, FRESH)


@pytest.mark.parametrize(("before", "now"), FORMS)
def test_masks_of_both_forms_from_before_are_settled_by_the_next_run(
    folder: Path, backend: ColourBackend, before: str, now: str
) -> None:
    make(folder, video_masks=now)
    (folder / "masks").rename(folder / "aside")
    make(folder, video_masks=before)
    (folder / "aside" / NAMES[now]).rename(folder / "masks" / NAMES[now])
    calls = backend.calls
    assert lines(folder, video_masks=now)["clip"] == (Action.SKIP, f"{FRESH}, replaces `{NAMES[before]}`")
    assert make(folder, video_masks=now).skipped == 1
    assert masks(folder) == [NAMES[now]]
    assert backend.calls == calls


def edit(folder: Path, form: str, how: str) -> None:
    place = folder / "masks" / "clip"
    if how == "edited":
        save(
            folder / "masks" / "clip.png" if form == "static" else place / "000003.png",
            np.full((32, 48), 7, dtype=np.uint8),
        )
    elif form == "frames":
        (place / "notes.txt").write_text("mine")
    else:
        aside = folder / "elsewhere.png"
        (folder / "masks" / "clip.png").rename(aside)
        (folder / "masks" / "clip.png").symlink_to(aside)


@pytest.mark.parametrize("how", ["edited", "not ours"])
@pytest.mark.parametrize(("before", "now"), FORMS)
def test_masks_that_somebody_touched_stay_and_are_named(folder: Path, before: str, now: str, how: str) -> None:
    make(folder, video_masks=before)
    edit(folder, before, how)
    kept = tree(folder / "masks")
    made = plan(config(folder, video_masks=now))
    problem = next(problem for problem in made.warnings if "both forms" in problem.what)
    assert problem.where == (str(folder / "masks" / NAMES[before]),)
    assert problem.fix.startswith("`cache` refuses both")
    make(folder, video_masks=now)
    assert {name: tree(folder / "masks").get(name) for name in kept} == kept


def test_mask_of_a_photo_that_had_the_clips_name_stays(folder: Path) -> None:
    aside = folder / "photos" / "clip.avi"
    aside.rename(folder / "clip.avi")
    save(folder / "photos" / "clip.png", person())
    make(folder)
    (folder / "photos" / "clip.png").unlink()
    (folder / "clip.avi").rename(aside)
    make(folder)
    assert masks(folder) == ["clip", "clip.png"]


def test_masks_stay_when_those_in_their_place_fail(folder: Path) -> None:
    make(folder, video_masks="static")
    path = folder / "photos" / "clip.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert make(folder, video_masks="frames").failures
    assert "clip.png" in masks(folder)


def test_what_a_killed_run_left_of_the_other_form_goes_too(folder: Path) -> None:
    make(folder, video_masks="frames")
    for name in (".blissmask.json", "000004.png"):
        (folder / "masks" / "clip" / name).unlink()
    (folder / "masks" / "clip" / ".000004.png.0123456789ab.blissmask-part").write_bytes(b"half")
    make(folder, video_masks="static")
    assert masks(folder) == ["clip.png"]
