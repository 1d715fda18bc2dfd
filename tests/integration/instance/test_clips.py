"""`instance` on clips: the subject is followed by its place, but never onto somebody who is seen to be another."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from blissmask.media.mask_picture import read_grey
from blissmask.tasks.instance import search
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.run.plan import Action
from tests.builders.instance import (
    STRANGER,
    SUBJECT,
    TURNED_AWAY,
    ColourFaces,
    ColourPeople,
    bar,
    find,
    lines,
    scene,
    use_people,
)
from tests.builders.pictures import save, tree, write_video


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> ColourPeople:
    monkeypatch.setattr(
        "blissmask.tasks.instance.plan.IDENTITIES",
        SimpleNamespace(load=lambda name: SimpleNamespace(face_reader=lambda options: ColourFaces())),
    )
    return use_people(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, people: ColourPeople) -> Path:
    save(tmp_path / "reference.png", scene(SUBJECT))
    return tmp_path


def clip(folder: Path, *colours: int) -> Path:
    """Write a clip of one person after the other in the same place."""
    return write_video(folder / "photos" / "clip.avi", [scene(colour) if colour else scene() for colour in colours])


def masked(folder: Path) -> list[bool]:
    """Return for each frame of the clip whether anybody is in its mask."""
    return [bool(read_grey(path).any()) for path in sorted((folder / "out" / "clip").glob("*.png"))]


def score(folder: Path, key: str = "clip") -> dict[str, object]:
    return json.loads((folder / "out" / "blissmask-scores.json").read_text())["items"][key]


def test_a_stranger_in_the_subjects_place_after_a_cut_is_not_the_subject(folder: Path) -> None:
    clip(folder, SUBJECT, SUBJECT, STRANGER, STRANGER, STRANGER, STRANGER)
    find(folder)
    assert masked(folder) == [True, True, False, False, False, False]
    assert score(folder)["carried"] is False


def test_a_stranger_who_turns_away_after_the_cut_is_not_the_subject_either(folder: Path) -> None:
    clip(folder, SUBJECT, STRANGER, TURNED_AWAY, SUBJECT)
    find(folder)
    assert masked(folder) == [True, False, False, True]


def test_somebody_without_a_face_in_the_subjects_place_still_is_the_subject(folder: Path) -> None:
    clip(folder, SUBJECT, TURNED_AWAY, TURNED_AWAY)
    find(folder)
    assert masked(folder) == [True, True, True]


def test_a_negative_in_the_subjects_place_is_not_the_subject(folder: Path) -> None:
    # With so wide a threshold the face would be the subject's, did the negative not claim it.
    clip(folder, SUBJECT, STRANGER)
    negative = save(folder / "others" / "stranger.png", scene(STRANGER))
    find(folder, face_distance=100.0, negatives=[negative])
    assert masked(folder) == [True, False]


def test_clips_that_were_followed_by_other_rules_are_redone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip(folder, SUBJECT)
    save(folder / "photos" / "photo.png", scene(SUBJECT))
    monkeypatch.setattr("blissmask.tasks.instance.plan.FOLLOWING", 1)
    find(folder)
    monkeypatch.undo()
    use_people(monkeypatch)
    monkeypatch.setattr(
        "blissmask.tasks.instance.plan.IDENTITIES",
        SimpleNamespace(load=lambda name: SimpleNamespace(face_reader=lambda options: ColourFaces())),
    )
    assert lines(folder) == {"clip": (Action.WRITE, "60x24, 1 frame, following changed"), "photo": (Action.SKIP, FRESH)}


FORMS = ["frames", "static"]


@pytest.mark.parametrize("form", FORMS)
def test_clip_without_the_subject_fails_when_asked_for(folder: Path, form: str) -> None:
    clip(folder, STRANGER, STRANGER, TURNED_AWAY)
    summary = find(folder, on_missing="error", video_masks=form)
    assert [failure.problem.what for failure in summary.failures] == [
        "the subject is not found in any frame: not in this photo, distance 80.00"
    ]
    assert (summary.written, summary.exit_code) == (0, 3)
    assert list(tree(folder / "out")) == ["blissmask-scores.json"]


@pytest.mark.parametrize("form", FORMS)
def test_clip_without_the_subject_is_left_out_when_asked_for(folder: Path, form: str) -> None:
    clip(folder, STRANGER, STRANGER, TURNED_AWAY)
    summary = find(folder, on_missing="skip", video_masks=form)
    assert (summary.written, summary.skipped, summary.details["left_out"]) == (0, 1, ["clip"])
    assert list(tree(folder / "out")) == ["blissmask-scores.json"]
    assert score(folder)["verdict"] == "not in this photo"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_clip_with_the_subject_in_one_frame_is_written_whatever_is_to_become_of_the_others(
    folder: Path, policy: str, form: str
) -> None:
    clip(folder, STRANGER, TURNED_AWAY, SUBJECT, STRANGER)
    assert find(folder, on_missing=policy, video_masks=form).written == 1
    if form == "frames":
        assert masked(folder) == [False, False, True, False]
    else:
        assert (read_grey(folder / "out" / "clip.png") == bar()).all()


def test_clip_without_the_subject_is_all_zero_by_default(folder: Path) -> None:
    clip(folder, STRANGER, STRANGER)
    assert find(folder).written == 1
    assert masked(folder) == [False, False]


def test_nothing_is_written_before_the_subject_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip(folder, STRANGER, STRANGER, SUBJECT)
    seen_before = []
    monkeypatch.setattr(
        search, "write_clip", lambda *given, **options: seen_before.append((folder / "out" / "clip").exists())
    )
    find(folder, on_missing="skip")
    assert seen_before == [False]


@pytest.mark.parametrize("form", FORMS)
def test_masks_of_a_clip_go_when_it_is_left_out_now(folder: Path, form: str) -> None:
    clip(folder, STRANGER, STRANGER)
    find(folder, video_masks=form)
    assert find(folder, on_missing="skip", video_masks=form).skipped == 1
    assert list(tree(folder / "out")) == ["blissmask-scores.json"]


@pytest.mark.parametrize(("before", "now", "stays"), [("static", "frames", "clip"), ("frames", "static", "clip.png")])
def test_masks_in_the_other_form_are_replaced(folder: Path, before: str, now: str, stays: str) -> None:
    clip(folder, SUBJECT, SUBJECT)
    find(folder, video_masks=before)
    assert find(folder, video_masks=now).written == 1
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["blissmask-scores.json", stays]


def test_masks_in_the_other_form_go_with_a_clip_that_is_left_out(folder: Path) -> None:
    clip(folder, STRANGER, STRANGER)
    find(folder, video_masks="static")
    find(folder, on_missing="skip")
    assert list(tree(folder / "out")) == ["blissmask-scores.json"]


def test_clip_left_out_by_its_samples_is_looked_at_frame_by_frame(folder: Path) -> None:
    clip(folder, STRANGER, STRANGER)
    find(folder, on_missing="skip", video_masks="static")
    assert lines(folder, on_missing="skip")["clip"] == (Action.WRITE, "60x24, 2 frames, video_masks changed")
