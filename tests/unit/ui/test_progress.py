"""Progress where there is no bar: which lines are told, and when."""

from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from blissmask.config.sections.run_section import RunSection
from blissmask.errors import Problem
from blissmask.events import Advanced, Announced, Noted, PhaseFinished, PhaseStarted, Warned
from blissmask.ui import progress
from blissmask.ui.problems import ProblemPrinter
from blissmask.ui.progress import make_reporter


class Clock:
    """Stands still until it is told to move."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=made))
    return made


def work(reporter, clock, *, seconds=(10.0,) * 7):
    """Report items, each of which takes so many seconds."""
    reporter.emit(PhaseStarted("Masking", len(seconds)))
    for taken in seconds:
        clock.seconds += taken
        reporter.emit(Advanced(1))
    reporter.emit(PhaseFinished("Masking"))


EVERY_KIND = (
    Noted("a note"),
    Announced(("the banner",)),
    Warned(Problem("be careful")),
    PhaseStarted("Training", 1),
    Advanced(1, note="loss 2.0000"),
    PhaseFinished("Training"),
)


def said(capsys, clock, *, command="masks", silent=False, **options):
    """Return the lines of a run that emits every kind of event once."""
    with make_reporter(RunSection(**options), command, ProblemPrinter(), silent=silent) as reporter:
        for event in EVERY_KIND:
            clock.seconds += 1.0
            reporter.emit(event)
    return capsys.readouterr().err.splitlines()


def test_a_line_every_thirty_seconds_tells_how_far_the_work_is_and_one_the_end(clock, capsys):
    with make_reporter(RunSection(), "masks", ProblemPrinter()) as reporter:
        work(reporter, clock)
    assert capsys.readouterr().err.splitlines() == [
        "Masking 3/7  0:30  10.0 s each",
        "Masking 6/7  1:00  10.0 s each",
        "Masking 7/7  1:10  10.0 s each",
    ]


def test_an_item_that_takes_minutes_is_told_once(clock, capsys):
    with make_reporter(RunSection(), "masks", ProblemPrinter()) as reporter:
        work(reporter, clock, seconds=(100.0, 1.0, 1.0))
    assert capsys.readouterr().err.splitlines() == ["Masking 1/3  1:40  100.0 s each", "Masking 3/3  1:42  34.0 s each"]


def test_steps_of_an_earlier_run_say_nothing_of_the_speed(clock, capsys):
    with make_reporter(RunSection(), "train", ProblemPrinter()) as reporter:
        reporter.emit(PhaseStarted("Training", 1000, "steps", before=900))
        clock.seconds += 40.0
        reporter.emit(Advanced(4))
    assert capsys.readouterr().err == "Training 904/1000  0:40  10.0 s each\n"


def test_the_bar_of_a_resumed_run_counts_its_own_steps(monkeypatch):
    now = [0.0]
    terminal = Console(file=StringIO(), force_terminal=True, width=120, get_time=lambda: now[0])
    monkeypatch.setattr(progress, "err", lambda: terminal)
    with progress.BarReporter(ProblemPrinter()) as bar:
        bar.emit(PhaseStarted("Training", 1000, "steps", before=900))
        now[0] += 40.0
        bar.emit(Advanced(4))
        shown = "".join(str(column.render(bar._progress.tasks[0])) + " " for column in bar._progress.columns[3:5])
    assert shown == "16:00 left 10.0 s each "


def test_the_line_of_a_training_ends_with_the_loss(clock, capsys):
    assert said(capsys, clock)[-1] == "Training 1/1  0:02  2.0 s each  loss 2.0000"


def test_what_went_on_between_two_steps_is_told_while_it_does_and_not_at_the_end(clock, capsys):
    with make_reporter(RunSection(), "train", ProblemPrinter()) as reporter:
        reporter.emit(PhaseStarted("Training", 2, "steps"))
        for note in ("preview 1 of 1, 0%", "preview 1 of 1, 50%"):
            clock.seconds += 20.0
            reporter.emit(Advanced(0, note=note))
        reporter.emit(Advanced(2, note="loss 2.0000"))
        reporter.emit(Advanced(0, note="preview 1 of 1, 25%"))
        reporter.emit(PhaseFinished("Training"))
    first, last = capsys.readouterr().err.splitlines()
    assert first == "Training 0/2  0:40  preview 1 of 1, 50%"
    assert last.endswith("loss 2.0000")


@pytest.mark.parametrize("ends", [(), (PhaseFinished("Training"),)], ids=["stopped", "finished"])
def test_a_bar_of_which_the_work_has_ended_says_nothing_of_what_was_in_hand(monkeypatch, ends):
    terminal = Console(file=StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(progress, "err", lambda: terminal)
    with progress.BarReporter(ProblemPrinter()) as bar:
        for event in (PhaseStarted("Training", 2), Advanced(1), Advanced(0, note="preview 2 of 2, 25%"), *ends):
            bar.emit(event)
    assert bar._progress.tasks[0].fields["item"] == ""


def test_everything_is_told_by_default(clock, capsys):
    assert said(capsys, clock)[:-1] == ["a note", "the banner", "warning: be careful"]


def test_no_progress_leaves_out_the_progress_alone(clock, capsys):
    assert said(capsys, clock, no_progress=True) == ["a note", "the banner", "warning: be careful"]


def test_quiet_tells_what_must_always_be_seen(clock, capsys):
    assert said(capsys, clock, quiet=True) == ["the banner", "warning: be careful"]


def test_all_but_the_first_of_several_processes_are_silent(clock, capsys):
    assert said(capsys, clock, silent=True) == []


def test_json_of_other_commands_than_train_leaves_the_progress_as_it_is(clock, capsys):
    assert said(capsys, clock, json_output=True) == said(capsys, clock)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, progress.BarReporter),
        ({"no_progress": True}, progress.PlainReporter),
        ({"quiet": True}, progress.QuietReporter),
        ({"json_output": True}, progress.BarReporter),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else "",
)
def test_in_a_terminal_there_is_a_bar_unless_it_is_refused(monkeypatch, options, kind):
    terminal = Console(file=StringIO(), force_terminal=True)
    monkeypatch.setattr(progress, "err", lambda: terminal)
    with make_reporter(RunSection(**options), "masks", ProblemPrinter()) as reporter:
        assert type(reporter) is kind


@pytest.mark.parametrize(("verbose", "count"), [(False, 3), (True, 12)])
def test_verbose_names_every_place_of_a_warning(clock, capsys, verbose, count):
    with make_reporter(RunSection(), "masks", ProblemPrinter(verbose=verbose)) as reporter:
        reporter.emit(Warned(Problem("be careful", tuple(f"photos/{number:02}.png" for number in range(12)))))
    assert sum(line.startswith("  photos/") for line in capsys.readouterr().err.splitlines()) == count


def test_the_last_item_has_one_line_however_long_it_took(capsys, clock):
    with make_reporter(RunSection(), "masks", ProblemPrinter()) as reporter:
        work(reporter, clock, seconds=(1.0, 45.0))
    assert capsys.readouterr().err.splitlines() == ["Masking 2/2  0:46  23.0 s each"]
