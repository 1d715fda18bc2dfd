"""The JSON documents on stdout, key by key: other programs read them."""

import json
from pathlib import Path

import pytest

from blissmask.config.sections.run_section import RunSection
from blissmask.errors import Problem, StoppedError, UsageError
from blissmask.events import (
    Advanced,
    Announced,
    ItemLoss,
    ItemsMeasured,
    Measured,
    Noted,
    PhaseFinished,
    PhaseStarted,
    Warned,
)
from blissmask.tasks.run.plan import Action, Failure, Plan, PlannedItem, Summary
from blissmask.ui import report_json
from blissmask.ui.problems import ProblemPrinter
from blissmask.ui.progress import make_reporter


def printed(capsys):
    """Return the documents on stdout; each must be a line of its own."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("event", "document"),
    [
        (
            Measured(3, {"loss": 0.5, "loss/face": 0.25}, 8),
            {"type": "step", "step": 3, "total": 8, "time": 1700000000.123, "loss": 0.5, "loss/face": 0.25},
        ),
        (
            ItemsMeasured(3, [ItemLoss("kyla", 2, 0.5)]),
            {"type": "items", "step": 3, "items": [{"item": "kyla", "draws": 2, "loss": 0.5}]},
        ),
        (PhaseStarted("Training", 8, "steps"), {"type": "phase_started", "phase": "Training", "total": 8}),
        (
            PhaseStarted("Loading the model", None),
            {"type": "phase_started", "phase": "Loading the model", "total": None},
        ),
        (PhaseFinished("Training"), {"type": "phase_finished", "phase": "Training"}),
        (Warned(Problem("careful", ("a.png",), "mend it")), {"type": "warning", "what": "careful", "where": ["a.png"]}),
        (Noted("a note"), {"type": "note", "text": "a note"}),
        (Announced(("a banner", "of two lines")), {"type": "banner", "lines": ["a banner", "of two lines"]}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_train_prints_each_event_as_one_line(capsys, monkeypatch, event, document):
    monkeypatch.setattr(report_json.time, "time", lambda: 1700000000.1234)
    with make_reporter(RunSection(json_output=True), "train", ProblemPrinter()) as reporter:
        reporter.emit(event)
    assert printed(capsys) == [document]


def test_single_items_are_left_out(capsys):
    with make_reporter(RunSection(json_output=True), "train", ProblemPrinter()) as reporter:
        reporter.emit(Advanced(1, "a.png"))
    assert printed(capsys) == []


def test_the_summary_has_the_keys_that_programs_rely_on(capsys):
    summary = Summary(
        "masks",
        items=4,
        written=2,
        skipped=1,
        failures=[Failure("a", Problem("damaged", ("photos/a.png",), "mend it"))],
        warnings=[Problem("careful", ("b",))],
        details={"people": 3},
        destination="out",
        seconds=1.23456,
    )
    report_json.show_summary(summary)
    assert printed(capsys) == [
        {
            "type": "summary",
            "command": "masks",
            "items": 4,
            "written": 2,
            "skipped": 1,
            "failed": [{"item": "a", "reason": "damaged", "where": ["photos/a.png"]}],
            "people": 3,
            "warnings": ["careful"],
            "seconds": 1.235,
            "exit_code": 3,
        }
    ]


def test_the_plan_has_the_keys_that_programs_rely_on(capsys):
    items = [
        PlannedItem("a", Action.WRITE, "48x32", (Path("photos/a.png"),), Path("out/a.png")),
        PlannedItem("b", Action.WRITE, inputs=(Path("b.png"), Path("mask.png"))).failing(
            Problem("the file is empty", ("mask.png",))
        ),
    ]
    report_json.show_plan(Plan("masks", items, warnings=[Problem("careful")], details={"classes": 4}))
    assert printed(capsys) == [
        {
            "type": "plan",
            "command": "masks",
            "items": [
                {
                    "item": "a",
                    "action": "write",
                    "reason": "48x32",
                    "where": [],
                    "inputs": ["photos/a.png"],
                    "output": "out/a.png",
                },
                {
                    "item": "b",
                    "action": "fail",
                    "reason": "the file is empty",
                    "where": ["mask.png"],
                    "inputs": ["b.png", "mask.png"],
                    "output": None,
                },
            ],
            "classes": 4,
            "warnings": ["careful"],
        }
    ]


def test_a_stop_that_was_asked_for_is_no_error(capsys):
    report_json.show_error(StoppedError("stopped", signal_number=15, fix="run it again"))
    assert printed(capsys) == [
        {"type": "stopped", "problems": [{"what": "stopped", "where": [], "fix": "run it again"}], "exit_code": 143}
    ]


def test_the_error_has_the_keys_that_programs_rely_on(capsys):
    report_json.show_error(UsageError("wrong", where=["a.toml"], fix="mend it"))
    assert printed(capsys) == [
        {"type": "error", "problems": [{"what": "wrong", "where": ["a.toml"], "fix": "mend it"}], "exit_code": 2}
    ]
