"""What a person said about who the subject is, in the runs of `instance` that follow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from blissmask.media.mask_picture import read_grey
from blissmask.people.people_backend import Verdict
from blissmask.tasks.instance import retouch
from blissmask.tasks.instance.answers import Answer, box_of
from blissmask.tasks.instance.plan import plan
from blissmask.tasks.instance.scores import SCORES_NAME
from blissmask.tasks.instance.subject import SubjectFinder
from blissmask.tasks.retouch.desk import SIDE, Desk, Kind, RetouchItem
from blissmask.tasks.run.plan import Action
from tests.builders.instance import (
    LOOKALIKE,
    SIZE_WH,
    STRANGER,
    SUBJECT,
    TURNED_AWAY,
    ColourIdentity,
    ColourPeople,
    bar,
    config,
    find,
    lines,
    scene,
    use_colours,
)
from tests.builders.pictures import save


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a photo of somebody who might be the subject, and a stranger."""
    use_colours(monkeypatch)
    save(tmp_path / "reference.png", scene(SUBJECT))
    save(tmp_path / "photos" / "two.png", scene(LOOKALIKE, STRANGER))
    find(tmp_path)
    return tmp_path


def say(folder: Path, *clicks: tuple[int, bool]) -> None:
    """Click on people (largest first, from 1), each as the subject or as somebody else."""
    made = retouch.plan(config(folder)).search
    (folder / "desk").mkdir(exist_ok=True)
    item = RetouchItem("two", folder / "photos" / "two.png", folder / "out" / "two.png", SIZE_WH)
    desk = Desk([item], Kind((0, 255), lambda grey, size: grey, retouch._describe), folder / "desk", training_area=4096)
    chooser = retouch.SubjectChooser(made, desk)
    chooser.shown(0)
    for person, is_subject in clicks:
        version = desk.pictures(0, side=SIDE).version
        chooser.choose(0, person, is_subject=is_subject, expected=version)


def mask(folder: Path) -> np.ndarray:
    return read_grey(folder / "out" / "two.png")


def scores(folder: Path) -> dict:
    return json.loads((folder / "out" / SCORES_NAME).read_text())


def test_the_person_who_was_clicked_on_is_outlined_and_the_run_after_finds_nothing_to_do(folder: Path) -> None:
    assert (mask(folder) == bar()).all()
    say(folder, (2, True))
    assert (mask(folder) == bar(1)).all()
    assert lines(folder)["two"] == (Action.SKIP, "already fresh")
    assert scores(folder)["items"]["two"]["verdict"] == Verdict.FOUND.value


def test_an_answer_is_used_when_masks_are_made_anew(folder: Path) -> None:
    say(folder, (2, True))
    find(folder, face_distance=0.3)
    assert (mask(folder) == bar(1)).all()
    assert list(scores(folder)["answers"]) == ["two"]


def test_somebody_who_is_not_the_subject_is_never_taken(folder: Path) -> None:
    say(folder, (1, False))
    assert not mask(folder).any()
    save(folder / "photos" / "two.png", scene(LOOKALIKE, SUBJECT))
    find(folder)
    assert (mask(folder) == bar(1)).all()


@pytest.mark.parametrize(("identity", "or_largest"), [(ColourIdentity(), True), (None, False), (None, True)])
def test_somebody_else_is_not_taken_as_the_largest_or_the_only_person_either(identity, or_largest) -> None:
    rgb = scene(STRANGER, TURNED_AWAY)
    finder = SubjectFinder(ColourPeople(), identity, or_largest=or_largest)
    largest, other = (box_of(person.mask_HW) for person in finder.people(rgb))
    assert (finder.find(rgb, Answer(strangers=(largest,))).mask_HW == (bar(1) > 0)).all()
    assert not finder.find(rgb, Answer(strangers=(largest, other))).mask_HW.any()


def test_answers_are_taken_back(folder: Path) -> None:
    say(folder, (2, True), (0, False))
    assert (mask(folder) == bar()).all()
    assert "answers" not in scores(folder)
    assert lines(folder)["two"] == (Action.SKIP, "already fresh")


def test_who_was_the_subject_and_then_is_not_is_no_subject(folder: Path) -> None:
    say(folder, (2, True), (2, False))
    assert scores(folder)["answers"]["two"]["subject"] is None
    assert (mask(folder) == bar()).all()


def test_an_answer_about_nobody_who_is_there_is_not_followed(folder: Path) -> None:
    say(folder, (2, True))
    save(folder / "photos" / "two.png", scene(SUBJECT))
    find(folder)
    assert (mask(folder) == bar()).all()


def test_a_scores_file_with_other_things_in_it_has_no_answers(folder: Path) -> None:
    document = scores(folder)
    document["answers"] = {"two": {"subject": [0, 0, "x", 1], "strangers": 3}, "three": []}
    (folder / "out" / SCORES_NAME).write_text(json.dumps(document))
    assert plan(config(folder)).answers == {}


def test_the_box_around_a_mask_is_in_shares() -> None:
    grey = np.zeros((10, 20), np.bool_)
    grey[2:5, 4:10] = True
    assert box_of(grey) == (0.2, 0.2, 0.5, 0.5)
    assert not Answer()
