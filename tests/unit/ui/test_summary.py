"""Plans and summaries on the screen: what fails names the file at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from blissmask.errors import Problem
from blissmask.tasks.run.plan import Action, Failure, Plan, PlannedItem, Summary, Table
from blissmask.ui.problems import ProblemPrinter
from blissmask.ui.summary import show_plan, show_summary

PHOTO, MASK = Path("photos/a.png"), Path("masks/a.png")


@pytest.mark.parametrize(
    ("inputs", "at_fault", "shown"),
    [
        ((PHOTO,), ("photos/a.png",), "photos/a.png  the file is empty"),
        ((PHOTO,), ("control/a.png",), "photos/a.png  control/a.png: the file is empty"),
        ((PHOTO, MASK), ("masks/a.png",), "photos/a.png + masks/a.png  masks/a.png: the file is empty"),
        ((PHOTO, MASK), ("photos/a.png", "masks/a.png"), "photos/a.png + masks/a.png  the file is empty"),
        ((PHOTO, MASK), (), "photos/a.png + masks/a.png  the file is empty"),
    ],
)
@pytest.mark.parametrize("verbose", [False, True])
def test_a_plan_says_which_file_an_item_fails_by(capsys, inputs, at_fault, shown, verbose):
    item = PlannedItem("a", Action.WRITE, inputs=inputs).failing(Problem("the file is empty", at_fault))
    show_plan(Plan("apply", [item]), verbose=verbose)
    assert capsys.readouterr().out.splitlines()[0] == f" fail    {shown}"


def test_what_is_told_again_says_that_it_is_not_new_and_is_no_second_warning_for_programs(capsys):
    said = Problem("1 item changed since it was cached", ("a.png",))
    summary = Summary("train", warnings=[said], told_again=[said])
    show_summary(summary, already_shown=[said], printer=ProblemPrinter(verbose=False))
    assert (
        capsys.readouterr().err.splitlines()[0] == "warning: as told at the start, 1 item changed since it was cached"
    )
    assert len(summary.to_json()["warnings"]) == 1


@pytest.mark.parametrize("verbose", [False, True])
def test_a_summary_names_a_file_once_however_many_items_it_costs(capsys, verbose):
    lost = Problem("the file is empty", ("masks/clip.mp4",))
    summary = Summary("cache", failures=[Failure(f"clip.mp4 frames {start}", lost) for start in (0, 5)])
    show_summary(summary, already_shown=[], printer=ProblemPrinter(verbose=verbose))
    assert capsys.readouterr().err.splitlines()[:2] == [
        "warning: 2 items failed",
        "  masks/clip.mp4: the file is empty",
    ]


def test_figures_stand_to_the_right_where_some_are_not_known(capsys):
    table = Table("", ("item", "learned by the face"), (("a", "12%"), ("b", "-"), ("c", "")))
    show_plan(Plan("train", [], tables=[table]), verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip()[-1] for line in lines if line.startswith((" a", " b"))] == ["%", "-"]
    assert len({len(line.rstrip()) for line in lines if line.startswith((" a", " b"))}) == 1
