"""`masks`: photos become weighted masks, with any backend; here one that reads the labels off the colours."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from blissmask.config.model import Config
from blissmask.errors import UsageError
from blissmask.licence import Licence
from blissmask.media.mask_picture import read_grey
from blissmask.media.png import read_note, write_png_grey
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.masks.plan import plan
from blissmask.tasks.masks.run import run
from blissmask.tasks.run.plan import Action, Kept, RunContext
from tests.builders.masks import (
    ColourBackend,
    config,
    expected,
    in_other_light,
    lines,
    make,
    person,
)
from tests.builders.pictures import save, tree, turned, wide_profile, write_video
from tests.builders.recorder import Recorder


def test_every_class_becomes_the_value_of_its_tier(folder: Path) -> None:
    assert make(folder).written == 2
    assert (read_grey(folder / "masks" / "b.png") == expected()).all()


def test_values_of_tiers_can_be_chosen(folder: Path) -> None:
    make(folder, face=200, body=100, hair=50, background=10)
    assert set(np.unique(read_grey(folder / "masks" / "a.png"))) == {200, 100, 50, 10}


def test_a_class_can_be_given_another_tier(folder: Path) -> None:
    make(folder, map=["hair=background", "clothes = face"])
    assert set(np.unique(read_grey(folder / "masks" / "a.png"))) == {255, 0}


def test_unknown_classes_and_tiers_are_all_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        plan(config(folder, map=["cloths=body", "hair=boddy", "hair"]))
    fixes = [problem.fix for problem in caught.value.problems]
    assert len(fixes) == 3
    assert "did you mean `clothes`?" in fixes[0]
    assert "did you mean `body`?" in fixes[1]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_mask_has_the_size_of_the_upright_photo(folder: Path, orientation: int) -> None:
    save(folder / "photos" / "a.png", turned(person(), orientation), orientation=orientation)
    make(folder)
    assert (read_grey(folder / "masks" / "a.png") == expected()).all()


def test_growing_moves_the_outline_and_invents_no_value(folder: Path) -> None:
    make(folder, grow=4)
    grown = read_grey(folder / "masks" / "a.png")
    assert (grown[:, 20:24] > 0).all()
    assert not grown[:, 24:].any()
    assert set(np.unique(grown)) == {0, 80, 128, 255}


def test_feathering_makes_values_between_the_tiers(folder: Path) -> None:
    make(folder, feather=6)
    assert len(np.unique(read_grey(folder / "masks" / "a.png"))) > 8


def test_specks_below_the_least_area_are_dropped(folder: Path) -> None:
    rgb = person()
    rgb[5, 35] = (3, 0, 0)
    save(folder / "photos" / "a.png", rgb)
    make(folder, min_area=0.01)
    assert (read_grey(folder / "masks" / "a.png") == expected()).all()


def test_backend_that_is_not_thread_safe_is_asked_by_one_thread_at_a_time(folder: Path, backend: ColourBackend) -> None:
    for number in range(12):
        save(folder / "photos" / f"{number}.png", person())
    make(folder, jobs=4)
    assert (backend.calls, backend.most_at_once) == (14, 1)


def test_thread_safe_backend_is_asked_by_several_threads_at_once(folder: Path, backend: ColourBackend) -> None:
    backend.thread_safe = True
    backend.meeting = threading.Barrier(2, timeout=300)
    assert make(folder, jobs=2).written == 2
    assert backend.most_at_once == 2


def test_second_run_asks_the_backend_nothing_and_tells_the_same(folder: Path, backend: ColourBackend) -> None:
    first = make(folder)
    before = tree(folder)
    assert set(lines(folder).values()) == {(Action.SKIP, FRESH)}
    second = make(folder)
    assert (backend.calls, second.written, second.skipped) == (2, 0, 2)
    assert second.tables == first.tables
    assert tree(folder) == before


def test_another_tier_value_redoes_all_and_says_so(folder: Path) -> None:
    make(folder)
    assert lines(folder, hair=90)["a"] == (Action.WRITE, "40x30, tiers changed")


def test_another_version_of_the_backend_redoes_all(folder: Path, backend: ColourBackend) -> None:
    make(folder)
    backend.identity = "colours-2"
    assert lines(folder)["a"] == (Action.WRITE, "40x30, backend changed")


def test_mask_that_was_there_before_is_kept(folder: Path) -> None:
    save(folder / "masks" / "a.png", expected())
    assert lines(folder)["a"] == (Action.SKIP, Kept.FOREIGN)


def test_truncated_photo_costs_one_item(folder: Path) -> None:
    path = folder / "photos" / "a.png"
    path.write_bytes(path.read_bytes()[:80])
    summary = make(folder)
    assert (summary.written, [failure.key for failure in summary.failures], summary.exit_code) == (1, ["a"], 3)


def test_photos_without_person_or_face_are_named(folder: Path) -> None:
    save(folder / "photos" / "empty.png", np.full((30, 40, 3), 200, dtype=np.uint8))
    save(folder / "photos" / "back.png", in_other_light(person(face=False), 60, 180))
    summary = make(folder)
    assert summary.details["without_person"] == ["empty"]
    assert summary.details["without_face"] == ["back", "empty"]
    assert summary.details["empty_masks"] == ["empty"]
    # What shows no person is told once, and not again for want of a face.
    assert [problem.where for problem in summary.warnings] == [("empty",), ("back",)]


def test_photos_whose_frame_cuts_a_head_are_named_however_far_outlines_are_moved(folder: Path) -> None:
    whole = np.full((60, 40, 3), 200, dtype=np.uint8)
    whole[20:50, 10:30] = person((40, 30))[:, :20]
    save(folder / "photos" / "whole.png", whole)
    assert make(folder, grow=12).details["head_cut_off"] == ["a", "b"]


def test_cut_heads_and_things_in_front_of_a_body_are_named_until_the_mask_is_mended(
    folder: Path, backend: ColourBackend
) -> None:
    assert make(folder).details["thing_in_a_body"] == []
    backend.in_front = 0.02
    seen = make(folder, force=True)
    assert seen.details["thing_in_a_body"] == ["a", "b"]
    (told,) = [problem for problem in seen.warnings if "in front of the body" in problem.what]
    assert (told.what, told.where) == ("2 items with something in front of the body, perhaps", ("a", "b"))
    painted = folder / "masks" / "a.png"
    note = read_note(painted)
    assert note is not None
    write_png_grey(painted, expected(), note=note.content, edited=True)
    mended = make(folder).details
    assert (mended["thing_in_a_body"], mended["head_cut_off"]) == (["b"], ["b"])


def test_mean_share_of_each_tier_is_told(folder: Path) -> None:
    summary = make(folder)
    assert summary.details["mean_coverage"] == {"face": 0.08333, "body": 0.25, "hair": 0.16667, "background": 0.5}
    # Of what is learned: shares weighted by value, 255 of 21.25 + 32 + 13.33.
    assert ("face", "255", "1.000", "8.3%", "31.9%") in summary.tables[0].rows


def test_explaining_lists_classes_and_licence_and_needs_no_folders(backend: ColourBackend) -> None:
    made = plan(Config.model_validate({"masks": {"explain": True, "map": ["hair=body"]}}))
    assert not made.items
    assert ("hair", "body", "128", "0.502") in made.tables[0].rows
    assert made.tables[1].rows == (("--backend embedded", "CC-BY-NC-4.0, no commercial use"),)
    assert run(made, RunContext()).tables == made.tables


def test_weights_not_for_commercial_use_are_refused_when_asked_to(folder: Path) -> None:
    with pytest.raises(UsageError, match="may not be used commercially"):
        plan(config(folder, commercial_only=True))


LEDGER = [
    {
        "weights": "--backend embedded",
        "identity": "colours-1",
        "licence": "CC-BY-NC-4.0",
        "commercial": False,
        "note": "",
    }
]


def test_licence_of_the_weights_is_said_once_and_recorded_with_every_mask(folder: Path) -> None:
    write_video(folder / "photos" / "clip.avi", [person(), person()])
    said = Recorder()
    summary = run(plan(config(folder)), RunContext(said))
    assert said.notes == ["`--backend embedded` uses colours-1; licence: CC-BY-NC-4.0, no commercial use"]
    assert summary.to_json()["licences"] == LEDGER
    for path in (folder / "masks" / "a.png", folder / "masks" / "clip" / "000001.png"):
        note = read_note(path)
        assert note is not None
        assert note.content["licences"] == LEDGER
    again = Recorder()
    assert run(plan(config(folder)), RunContext(again)).to_json()["licences"] == LEDGER
    assert again.notes == [], "nothing was left to make, so no weights were used"
    assert json.loads((folder / "masks" / "clip" / ".blissmask.json").read_text())["licences"] == LEDGER


def test_another_licence_of_the_same_weights_redoes_nothing(folder: Path, backend: ColourBackend) -> None:
    make(folder)
    backend.licence = Licence("Apache-2.0", commercial=True)
    assert {item.reason for item in plan(config(folder)).items} == {FRESH}


def test_only_photos_whose_colours_are_converted_say_so_and_remember_it(folder: Path) -> None:
    save(folder / "photos" / "a.png", person(), icc_profile=wide_profile())
    assert lines(folder) == {"a": (Action.WRITE, "40x30, colours from Display P3"), "b": (Action.WRITE, "40x30")}
    make(folder)
    notes = {name: read_note(folder / "masks" / f"{name}.png") for name in "ab"}
    assert {name: note.content["settings"].get("profile") for name, note in notes.items()} == {
        "a": "Display P3",
        "b": None,
    }
    assert {action for action, _ in lines(folder).values()} == {Action.SKIP}
