"""`instance --on-missing skip`: nothing is written, that counts as skipped, and the verdict is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blissmask.errors import StoppedError
from blissmask.media.mask_picture import read_grey
from blissmask.people.people_backend import Choice, Verdict
from blissmask.tasks.instance.plan import plan
from blissmask.tasks.instance.run import run
from blissmask.tasks.instance.scores import LEFT_OUT, SCORES_NAME
from blissmask.tasks.run.plan import Action, Kept, RunContext
from tests.builders.instance import (
    STRANGER,
    SUBJECT,
    ColourIdentity,
    ColourPeople,
    bar,
    config,
    find,
    lines,
    scene,
)
from tests.builders.pictures import random_rgb, save, tree


@pytest.fixture
def folder(tmp_path: Path, people: ColourPeople) -> Path:
    """A photo of the subject and one of a stranger."""
    save(tmp_path / "reference.png", random_rgb())
    save(tmp_path / "photos" / "kyla.png", scene(SUBJECT))
    save(tmp_path / "photos" / "stranger.png", scene(STRANGER))
    return tmp_path


def skip(folder: Path, **options: object) -> tuple[Action, str]:
    """Return what a plan says of the stranger."""
    return lines(folder, on_missing="skip", **options)["stranger"]


def test_photos_that_are_left_out_count_as_skipped(folder: Path) -> None:
    summary = find(folder, on_missing="skip")
    assert (summary.written, summary.skipped, summary.details["left_out"]) == (1, 1, ["stranger"])
    assert summary.details["verdicts"]["not in this photo"] == 1


def test_second_run_asks_the_networks_nothing_and_tells_the_same(folder: Path, people: ColourPeople) -> None:
    first = find(folder, on_missing="skip")
    before, calls = tree(folder / "out"), people.calls
    assert skip(folder) == (Action.SKIP, LEFT_OUT)
    second = find(folder, on_missing="skip")
    assert people.calls == calls
    assert (second.written, second.skipped, second.tables) == (0, 2, first.tables)
    assert second.details["left_out"] == ["stranger"]
    assert tree(folder / "out") == before


def test_photo_that_changed_is_looked_at_again(folder: Path) -> None:
    find(folder, on_missing="skip")
    save(folder / "photos" / "stranger.png", scene(SUBJECT))
    assert skip(folder) == (Action.WRITE, "60x24, stranger.png changed")
    assert find(folder, on_missing="skip").written == 1
    assert (read_grey(folder / "out" / "stranger.png") == bar()).all()


@pytest.mark.parametrize(
    ("options", "changed"), [({"face_distance": 0.9}, "thresholds"), ({"reference": "photos/kyla.png"}, "references")]
)
def test_other_settings_look_again_and_say_so(folder: Path, options: dict[str, object], changed: str) -> None:
    find(folder, on_missing="skip")
    given = {name: [folder / value] if isinstance(value, str) else value for name, value in options.items()}
    assert skip(folder, **given) == (Action.WRITE, f"60x24, {changed} changed")


def test_force_looks_again(folder: Path) -> None:
    find(folder, on_missing="skip")
    made = plan(
        config(folder, on_missing="skip").model_copy(
            update={"run": config(folder).run.model_copy(update={"force": True})}
        )
    )
    assert all(item.action is Action.WRITE for item in made.items)


def test_another_policy_writes_what_was_left_out(folder: Path) -> None:
    find(folder, on_missing="skip")
    find(folder, on_missing="empty")
    assert not read_grey(folder / "out" / "stranger.png").any()
    assert json.loads((folder / "out" / SCORES_NAME).read_text())["left_out"] == {}


def test_all_zero_mask_from_before_goes(folder: Path) -> None:
    find(folder)
    assert find(folder, on_missing="skip").skipped == 1
    assert sorted(tree(folder / "out")) == [SCORES_NAME, "kyla.png"]


def test_mask_edited_by_hand_stays_although_the_subject_is_missing(folder: Path) -> None:
    find(folder)
    save(folder / "out" / "stranger.png", bar(1))
    find(folder, on_missing="skip")
    assert skip(folder) == (Action.SKIP, Kept.FOREIGN)
    assert (read_grey(folder / "out" / "stranger.png") == bar(1)).all()


def test_run_that_was_stopped_remembers_what_it_left_out(folder: Path, people: ColourPeople) -> None:
    for number in range(20):
        save(folder / "photos" / f"a{number:02}.png", scene(STRANGER))
    with pytest.raises(StoppedError):
        run(plan(config(folder, on_missing="skip")), RunContext(stop_signal=lambda: 2 if people.calls >= 5 else 0))
    calls = people.calls
    assert calls < 20
    find(folder, on_missing="skip")
    assert people.calls == 22


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"command": "instance", "left_out": 1}',
        '{"command": "masks", "left_out": {"stranger": {}}}',
    ],
)
def test_scores_that_are_not_ours_are_nothing(folder: Path, text: str) -> None:
    find(folder, on_missing="skip")
    (folder / "out" / SCORES_NAME).write_text(text)
    assert skip(folder) == (Action.WRITE, "60x24")


def test_uncertain_photo_that_is_left_out_keeps_its_copy_for_review(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A face that is the subject's, on nobody who was outlined.
    monkeypatch.setattr(ColourIdentity, "choose", lambda *given, **options: Choice(Verdict.UNCERTAIN, None, 0.4, None))
    for _ in range(2):
        find(folder, on_missing="skip", review=folder / "review")
        assert sorted(path.name for path in (folder / "review").iterdir()) == [
            "kyla.json",
            "kyla.png",
            "stranger.json",
            "stranger.png",
        ]
