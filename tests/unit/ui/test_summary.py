"""Plans and summaries on the screen: what fails names the file at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from blissmask.errors import Problem
from blissmask.tasks.run.plan import Action, Failure, Plan, PlannedItem, Summary, Table
from blissmask.ui.console import out
from blissmask.ui.problems import ProblemPrinter
from blissmask.ui.summary import show_plan, show_summary
from blissmask.ui.table import show_table

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
    printer = ProblemPrinter(verbose=False)
    printer.warning_once(said)
    capsys.readouterr()
    show_summary(summary, printer=printer)
    assert (
        capsys.readouterr().err.splitlines()[0] == "warning: as told at the start, 1 item changed since it was cached"
    )
    assert len(summary.to_json()["warnings"]) == 1


def test_what_an_earlier_command_told_of_the_same_files_is_not_told_again(capsys):
    printer = ProblemPrinter()
    of_masks = Problem("1 photo enlarged more than twice", ("a.png",), "use larger originals")
    show_summary(Summary("masks", warnings=[of_masks]), printer=printer)
    of_more = Problem("1 photo enlarged more than twice", ("b.png",), "use larger originals")
    show_summary(Summary("cache", warnings=[of_masks, of_more]), printer=printer)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("  ")] == ["  a.png", "  b.png"]


@pytest.mark.parametrize("verbose", [False, True])
def test_a_summary_names_a_file_once_however_many_items_it_costs(capsys, verbose):
    lost = Problem("the file is empty", ("masks/clip.mp4",))
    summary = Summary("cache", failures=[Failure(f"clip.mp4 frames {start}", lost) for start in (0, 5)])
    show_summary(summary, printer=ProblemPrinter(verbose=verbose))
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


def printed(capsys, monkeypatch, *tables, width=80):
    """Return the lines of tables on a terminal of so many columns."""
    monkeypatch.setattr(out(), "width", width)
    for table in tables:
        show_table(table)
    return capsys.readouterr().out.splitlines()


RANKING = Table(
    "Ranking",
    ("", "LoRA", "Likeness", "Spread", "Faces", "Other people", "Place kept", "Held-out face"),
    (
        ("1", "kyla-low-step00001000-average", "0.71", "0.05", "11 of 12", "0.12", "0.83", "0.0912"),
        ("", "base model", "0.12", "0.03", "12 of 12", "0.11", "-", "0.1201"),
    ),
)


def test_a_ranking_fits_80_columns_with_names_and_figures_whole(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, RANKING)
    assert max(map(len, lines)) <= 80
    (first,) = (line for line in lines if line.startswith(" 1"))
    assert all(cell in first for cell in RANKING.rows[0])


def test_a_name_without_room_is_broken_at_its_joints_and_sentences_keep_a_few_words_a_line(capsys, monkeypatch):
    name, remark = "photos/mountains/IMG_20240712_183344_HDR.jpg", "far above the others; bad mask or caption"
    figures = ("0.0912", "0.1033", "11.7%", "18.3%")
    table = Table("", ("Item", "Loss", "Without", "Learned", "Face learned", "Remark"), ((name, *figures, remark),))
    lines = printed(capsys, monkeypatch, table)
    assert max(map(len, lines)) <= 80
    row = lines[2]
    assert row.split()[0] in ("photos/", "photos/mountains/")
    assert all(figure in row for figure in figures)
    assert "far above the" in row


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_table_is_wider_than_the_terminal_and_no_text_is_lost(capsys, monkeypatch, width):
    caption = "ohwx in a red coat on a bridge at night, " * 5
    table = Table(
        "", ("Photo", "Caption"), (("photos/kyla.jpg", caption), ("夜の橋の写真.jpg" * 4, "-")), ("2 photos", "")
    )
    lines = printed(capsys, monkeypatch, table, width=width)
    assert max(map(cell_len, lines)) <= width
    words = " ".join(lines).replace("photos/kyla.jpg", "").split()
    assert [word for word in words if word in caption.split()] == caption.split()
    assert "".join(words).count("夜") == 4


def test_names_are_broken_further_where_a_table_fits_no_otherwise_and_figures_never(capsys, monkeypatch):
    name = "blocks.0.attention.to_q.weight"
    table = Table("", ("Part", "Weights", "Rank", "Bytes"), ((name, name, "16", "123456"),))
    for width in (40, 30, 20):
        lines = printed(capsys, monkeypatch, table, width=width)
        assert max(map(len, lines)) <= width
        assert any(line.endswith(" 16 123456") for line in lines)
    # A space in front, two columns of two letters, and `Rank` and `123456` behind three spaces.
    assert max(map(len, printed(capsys, monkeypatch, table, width=10))) == 1 + 2 + 1 + 2 + 1 + 4 + 1 + 6


def test_an_empty_line_stands_between_tables_and_neither_before_the_first_nor_twice(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, Table("", ("a",), (("1",),)), Table("b", ("c",), (("2",),), ("3",)))
    assert lines == [" a", " ─", " 1", "", "b", " c", " ─", " 2", "", " 3", ""]


@pytest.mark.parametrize(
    ("written", "skipped", "hint"),
    [
        (0, 0, "hint: mend it, then run the same command again"),
        (1, 0, "hint: everything else is finished and kept; mend it, then run the same command again"),
        (0, 1, "hint: everything else is finished and kept; mend it, then run the same command again"),
    ],
)
def test_it_is_said_that_something_is_kept_where_there_is_something(capsys, written, skipped, hint):
    failed = [Failure("a", Problem("the file is empty", ("a.png",)))]
    summary = Summary("masks", written=written, skipped=skipped, failures=failed)
    show_summary(summary, printer=ProblemPrinter())
    assert hint in capsys.readouterr().err.splitlines()
