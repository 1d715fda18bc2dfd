"""`instance`: one person out of many, and a clear word where that fails. People are told apart by colour here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from blissmask.config.model import Config
from blissmask.errors import UsageError
from blissmask.licence import Licence
from blissmask.media.mask_picture import read_grey
from blissmask.media.png import read_note
from blissmask.people.faces.embedded import EmbeddedFaces
from blissmask.tasks.instance.plan import plan
from blissmask.tasks.instance.report import read_score, warnings_about
from blissmask.tasks.instance.run import run
from blissmask.tasks.instance.scores import SCORES_NAME
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.run.plan import Action, Kept, RunContext
from tests.builders.instance import (
    LOOKALIKE,
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
)
from tests.builders.pictures import random_rgb, save, tree, write_video
from tests.builders.recorder import Recorder


@pytest.fixture
def folder(tmp_path: Path, people: ColourPeople) -> Path:
    save(tmp_path / "reference.png", random_rgb())
    save(tmp_path / "photos" / "group.png", scene(STRANGER, SUBJECT, TURNED_AWAY))
    return tmp_path


def test_subject_is_255_and_everybody_else_0(folder: Path) -> None:
    summary = find(folder)
    assert (read_grey(folder / "out" / "group.png") == bar(1)).all()
    assert summary.details["verdicts"] == {"found": 1, "uncertain": 0, "not in this photo": 0, "no face": 0}
    assert ("found", "1", "0.31", "0.40") in summary.tables[0].rows


def test_stranger_gives_an_all_zero_mask_and_is_named(folder: Path) -> None:
    save(folder / "photos" / "stranger.png", scene(STRANGER))
    summary = find(folder)
    assert not read_grey(folder / "out" / "stranger.png").any()
    problem = next(problem for problem in summary.warnings if "without the subject" in problem.what)
    assert problem.where == ("stranger: not in this photo, distance 0.81",)


@pytest.mark.parametrize(("policy", "written"), [("skip", False), ("largest", True)])
def test_missing_subject_is_left_out_or_replaced_by_the_largest_when_asked_for(
    folder: Path, policy: str, *, written: bool
) -> None:
    save(folder / "photos" / "stranger.png", scene(STRANGER, TURNED_AWAY, width=14))
    find(folder, on_missing=policy)
    path = folder / "out" / "stranger.png"
    assert path.exists() is written
    if written:
        assert (read_grey(path) == bar(width=14)).all()


def test_missing_subject_fails_the_item_when_asked_for(folder: Path) -> None:
    save(folder / "photos" / "stranger.png", scene(STRANGER))
    summary = find(folder, on_missing="error")
    assert [(failure.key, failure.problem.what) for failure in summary.failures] == [
        ("stranger", "the subject is not found: not in this photo, distance 0.81")
    ]
    assert (summary.written, summary.exit_code) == (1, 3)


def test_uncertain_photos_are_written_and_copied_for_review_with_their_scores(folder: Path) -> None:
    photo = save(folder / "photos" / "maybe.png", scene(LOOKALIKE, STRANGER))
    summary = find(folder, review=folder / "review")
    assert (read_grey(folder / "out" / "maybe.png") == bar()).all()
    assert (folder / "review" / "maybe.png").read_bytes() == photo.read_bytes()
    scores = json.loads((folder / "review" / "maybe.json").read_text())
    assert (scores["verdict"], scores["distance"], scores["margin"]) == ("uncertain", 0.57, 0.2)
    assert sorted(path.name for path in (folder / "review").iterdir()) == ["maybe.json", "maybe.png"]
    assert any("uncertain" in problem.what for problem in summary.warnings)


def test_review_copy_goes_when_the_photo_is_no_longer_uncertain(folder: Path) -> None:
    save(folder / "photos" / "maybe.png", scene(LOOKALIKE))
    find(folder, review=folder / "review")
    save(folder / "photos" / "maybe.png", scene(SUBJECT))
    find(folder, review=folder / "review")
    assert list((folder / "review").iterdir()) == []


def test_files_in_the_review_folder_that_are_not_ours_are_kept(folder: Path) -> None:
    save(folder / "photos" / "maybe.png", scene(LOOKALIKE))
    mine = save(folder / "review" / "maybe.png", random_rgb())
    before = mine.read_bytes()
    find(folder, review=folder / "review")
    assert mine.read_bytes() == before


def test_scores_of_all_photos_stand_in_one_file_also_after_a_second_run(folder: Path, people: ColourPeople) -> None:
    save(folder / "photos" / "stranger.png", scene(STRANGER))
    find(folder)
    before, calls = tree(folder / "out"), people.calls
    scores = json.loads(before[SCORES_NAME])
    assert scores["items"]["group"] == {
        "verdict": "found",
        "distance": 0.31,
        "margin": 0.4,
        "people": 3,
        "partial": False,
        "carried": False,
        "covered": 0.16667,
    }
    assert set(lines(folder).values()) == {(Action.SKIP, FRESH)}
    find(folder)
    assert people.calls == calls
    assert tree(folder / "out") == before


def test_another_reference_redoes_all_and_says_so(folder: Path) -> None:
    find(folder)
    save(folder / "reference.png", random_rgb(seed=1))
    assert lines(folder)["group"] == (Action.WRITE, "60x24, references changed")


def test_order_and_names_of_references_do_not_matter(folder: Path) -> None:
    other = save(folder / "refs" / "2.png", random_rgb(seed=2))
    find(folder, reference=[folder / "reference.png", other])
    (folder / "reference.png").rename(folder / "refs" / "1.png")
    assert lines(folder, reference=[folder / "refs"])["group"] == (Action.SKIP, FRESH)


def test_hand_edited_mask_is_kept(folder: Path) -> None:
    find(folder)
    save(folder / "out" / "group.png", bar(0))
    assert lines(folder)["group"] == (Action.SKIP, Kept.FOREIGN)


def test_only_person_needs_no_reference(folder: Path) -> None:
    save(folder / "photos" / "group.png", scene(STRANGER))
    assert find(folder, reference=[]).written == 1
    assert (read_grey(folder / "out" / "group.png") == bar()).all()


def test_several_people_without_reference_fail_and_say_so(folder: Path) -> None:
    summary = find(folder, reference=[])
    assert summary.failures[0].problem.what == "3 people and no reference to tell them apart"
    assert "--reference" in summary.failures[0].problem.fix


def test_largest_person_is_taken_without_reference_when_asked_for(folder: Path) -> None:
    rgb = scene(STRANGER, SUBJECT)
    rgb[:, 40:] = (TURNED_AWAY, 0, 0)
    save(folder / "photos" / "group.png", rgb)
    find(folder, reference=[], on_missing="largest")
    assert (read_grey(folder / "out" / "group.png") == (rgb[..., 0] == TURNED_AWAY) * np.uint8(255)).all()


def test_empty_room_gives_an_empty_mask_and_a_verdict(folder: Path) -> None:
    save(folder / "photos" / "room.png", scene())
    assert find(folder).details["verdicts"]["no face"] == 1
    assert not read_grey(folder / "out" / "room.png").any()


def test_references_that_do_not_exist_are_all_named(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        plan(config(folder, reference=[folder / "nobody.png"], negatives=[]))
    assert caught.value.problems[0].where == (str(folder / "nobody.png"),)
    with pytest.raises(UsageError, match="holds no pictures"):
        plan(config(folder, reference=[folder / "empty"]))


@pytest.mark.parametrize("options", [{}, {"reference": []}])
def test_unknown_identity_is_refused(folder: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="unknown identity `embeded`") as caught:
        plan(config(folder, identity="embeded", **options))
    assert caught.value.problems[0].fix == "did you mean `embedded`?"


def test_thresholds_are_the_identitys_own_but_for_what_is_said(folder: Path) -> None:
    find(folder)
    own = json.loads((folder / "out" / SCORES_NAME).read_text())["settings"]["thresholds"]
    assert own == {"max_distance": 0.55, "uncertain_band": 0.05, "min_margin": 0.1, "unclear_tighter": 0.1}
    assert lines(folder, face_distance=0.55, face_margin=0.1)["group"] == (Action.SKIP, FRESH)
    assert lines(folder, face_distance=0.5)["group"] == (Action.WRITE, "60x24, thresholds changed")
    assert lines(folder, face_margin=0.2)["group"] == (Action.WRITE, "60x24, thresholds changed")


def test_thresholds_that_are_said_decide(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(
        "blissmask.tasks.instance.run.build_identity",
        lambda reader, thresholds, *photos: given.append(thresholds) or (ColourIdentity(), []),
    )
    find(folder, face_distance=0.4, face_margin=0.2)
    assert (given[0].max_distance, given[0].min_margin, given[0].uncertain_band) == (0.4, 0.2, 0.05)


PEOPLE_LEDGER = {
    "weights": "--backend embedded",
    "identity": "colours-1",
    "licence": "Apache-2.0",
    "commercial": True,
    "note": "",
}


def test_licences_of_backend_and_identity_are_said_once_and_recorded(folder: Path) -> None:
    said = Recorder()
    summary = run(plan(config(folder)), RunContext(said))
    assert said.notes[1] == "`--backend embedded` uses colours-1; licence: Apache-2.0, commercial use allowed"
    assert "licence: CC0-1.0, commercial use allowed" in said.notes[2]
    ledger = summary.to_json()["licences"]
    assert ledger[0] == PEOPLE_LEDGER
    assert (ledger[1]["weights"], ledger[1]["licence"]) == ("--identity embedded", "CC0-1.0")
    assert json.loads((folder / "out" / SCORES_NAME).read_text())["licences"] == ledger
    again = Recorder()
    run(plan(config(folder)), RunContext(again))
    assert again.notes == [], "nothing was left to make, so no weights were used"
    note = read_note(folder / "out" / "group.png")
    assert note is not None
    assert note.content["licences"] == ledger


def test_identity_that_is_not_used_is_not_in_the_ledger(folder: Path) -> None:
    save(folder / "photos" / "group.png", scene(STRANGER))
    assert find(folder, reference=[]).details["licences"] == [PEOPLE_LEDGER]


def test_weights_not_for_commercial_use_are_all_refused_when_asked_to(
    folder: Path, people: ColourPeople, monkeypatch: pytest.MonkeyPatch
) -> None:
    research = Licence("CC-BY-NC-4.0", commercial=False)
    monkeypatch.setattr(EmbeddedFaces, "licence", research)
    with pytest.raises(UsageError) as caught:
        plan(config(folder, commercial_only=True))
    assert [problem.what for problem in caught.value.problems] == [
        "the weights of `--identity embedded` may not be used commercially (licence CC-BY-NC-4.0)"
    ]
    assert caught.value.problems[0].fix.startswith("choose another `--identity`")
    people.licence = research
    with pytest.raises(UsageError) as caught:
        plan(config(folder, commercial_only=True))
    assert len(caught.value.problems) == 2
    assert plan(config(folder)).items


def test_explaining_shows_thresholds_and_licences_and_needs_no_folders(people: ColourPeople) -> None:
    made = plan(Config.model_validate({"instance": {"explain": True, "face_distance": 0.4}}))
    assert not made.items
    assert [row[1] for row in made.tables[0].rows] == ["found", "uncertain", "not in this photo"]
    assert made.tables[0].rows[0][0].startswith("up to 0.40; ")
    assert [row[0] for row in made.tables[1].rows] == ["--backend embedded", "--identity embedded"]
    summary = run(made, RunContext())
    assert summary.tables == made.tables
    assert summary.details["thresholds"]["max_distance"] == 0.4


@pytest.mark.parametrize("option", ["output", "review"])
def test_nothing_is_written_among_the_photos(folder: Path, option: str) -> None:
    before = tree(folder)
    with pytest.raises(UsageError, match="the output folder is the folder of photos"):
        plan(config(folder, **{option: folder / "photos"}))
    assert tree(folder) == before


def clip(folder: Path) -> None:
    """Write a clip: the subject walks to the right; in frames 2 and 3 its face is turned away; a stranger stands by."""
    colours = [SUBJECT, SUBJECT, TURNED_AWAY, TURNED_AWAY, SUBJECT]
    frames = []
    for number, colour in enumerate(colours):
        rgb = scene(colour, offset=2 * number)
        rgb[4:, 45:55] = (STRANGER, 50, 50)
        frames.append(rgb)
    write_video(folder / "photos" / "clip.avi", frames)


def test_subject_is_followed_by_its_place_while_the_face_is_turned_away(folder: Path) -> None:
    clip(folder)
    find(folder)
    for number in range(5):
        assert (read_grey(folder / "out" / "clip" / f"{number:06}.png") == bar(offset=2 * number)).all(), number
    scores = json.loads((folder / "out" / SCORES_NAME).read_text())["items"]["clip"]
    assert (scores["verdict"], scores["carried"]) == ("found", True)


def test_person_who_stands_elsewhere_is_not_taken_for_the_subject(folder: Path) -> None:
    gone = scene()
    gone[4:, 45:55] = (TURNED_AWAY, 50, 50)
    write_video(folder / "photos" / "clip.avi", [scene(SUBJECT), gone])
    find(folder)
    assert not read_grey(folder / "out" / "clip" / "000001.png").any()


def test_static_mask_of_a_clip_is_where_the_subject_ever_is(folder: Path) -> None:
    clip(folder)
    find(folder, video_masks="static")
    assert (
        read_grey(folder / "out" / "clip.png") == np.maximum.reduce([bar(offset=2 * number) for number in range(5)])
    ).all()


def test_killed_clip_ends_in_the_same_files(folder: Path) -> None:
    clip(folder)
    find(folder)
    whole = tree(folder / "out")
    for name in (".blissmask.json", "000002.png", "000004.png"):
        (folder / "out" / "clip" / name).unlink()
    assert lines(folder)["clip"][1].endswith("unfinished")
    find(folder)
    assert tree(folder / "out") == whole


def test_sheet_shows_what_needs_a_look_first(folder: Path) -> None:
    save(folder / "photos" / "a_found.png", scene(SUBJECT))
    save(folder / "photos" / "z_nobody.png", scene())
    find(folder, sheet=folder / "sheet.html")
    page = (folder / "sheet.html").read_text()
    assert page.count('"remarks":["no person"]') == 1
    assert page.index("z_nobody.png") < page.index("a_found.png")


NO_REFERENCE = "there is no reference: photos with one person are outlined, those with several fail"


@pytest.mark.parametrize(
    ("options", "warned"),
    [({"reference": []}, [NO_REFERENCE]), ({"reference": [], "on_missing": "largest"}, []), ({}, [])],
)
def test_that_several_people_need_a_reference_is_said_before_the_work(folder: Path, options, warned) -> None:
    assert [warning.what for warning in plan(config(folder, **options)).warnings] == warned


@pytest.mark.parametrize("option", ["reference", "negatives"])
def test_a_photo_to_compare_with_that_cannot_be_read_is_named_before_the_work(folder: Path, option: str) -> None:
    (folder / "empty.png").touch()
    with pytest.raises(UsageError, match=f"`--{option}`: the file is empty") as caught:
        plan(config(folder, **{option: [folder / "empty.png"]}))
    assert caught.value.problems[0].where == (str(folder / "empty.png"),)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        (
            {},
            "look at them (`--review DIR` copies them, `--sheet sheet.html` shows them), say who it is (`--retouch`), or add references",
        ),
        ({"sheet": Path("mine.html")}, "look at them in `mine.html`, say who it is (`--retouch`), or add references"),
        (
            {"sheet": Path("m.html"), "review": Path("r")},
            "look at them in `r` or `m.html`, say who it is (`--retouch`), or add references",
        ),
    ],
)
def test_the_hint_to_look_names_the_sheet_that_was_made(options, fix) -> None:
    score = read_score({"verdict": "uncertain", "covered": 0.5})
    [warning] = warnings_about({"a": score}, **{"sheet": None, "review": None, **options})
    assert warning.fix == fix
