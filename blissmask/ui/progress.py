"""Progress while a task runs.

A Rich bar in a terminal, a plain line every 30 seconds elsewhere, JSON lines for ``train --json``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from rich import progress as bar  # noqa: TID251
from rich.console import Console, ConsoleOptions, RenderResult  # noqa: TID251
from rich.table import Column  # noqa: TID251
from rich.text import Text  # noqa: TID251

from blissmask.config.sections.run_section import RunSection
from blissmask.events import (
    Advanced,
    Announced,
    Event,
    Noted,
    NullReporter,
    PhaseFinished,
    PhaseStarted,
    Reporter,
    Warned,
)
from blissmask.ui import report_json
from blissmask.ui.console import clock_text, err, folded, printable
from blissmask.ui.problems import ProblemPrinter, show_note

PLAIN_INTERVAL_SECONDS = 30.0
"""Between two lines where no bar can be drawn: a log of a day has some 3,000."""


@contextmanager
def make_reporter(
    run: RunSection, command: str, printer: ProblemPrinter, *, silent: bool = False
) -> Iterator[Reporter]:
    """Yield the reporter that suits the terminal and the flags.

    Args:
        run: the flags that every command has.
        command: the subcommand.
        printer: prints warnings.
        silent: report nothing; for all but the first of several processes.
    """
    if silent:
        yield NullReporter()
    elif run.json_output and command == "train":
        yield report_json.JsonLines()
    elif run.quiet:
        yield QuietReporter(printer)
    elif err().is_terminal and not run.no_progress:
        with BarReporter(printer) as reporter:
            yield reporter
    else:
        yield PlainReporter(printer, show_progress=not run.no_progress)


def while_planning(run: RunSection, *, silent: bool = False) -> AbstractContextManager[object]:
    """Show in a terminal that work is done: a plan looks at every file and counts the frames of every new video."""
    if silent or not err().is_terminal or run.quiet or run.no_progress:
        return nullcontext()
    return err().status("Looking at the files", spinner="line")


class QuietReporter:
    """Shows warnings and what must always be seen."""

    def __init__(self, printer: ProblemPrinter) -> None:
        self._printer = printer

    def emit(self, event: Event) -> None:
        """Show ``event`` when it is a warning or an announcement."""
        match event:
            case Warned(problem=problem):
                self._printer.warning(problem)
            case Announced(lines=lines):
                for line in lines:
                    # Tables and banners fit; a sentence may be longer than the terminal.
                    err().print(folded(err(), line, hanging=2))


class PlainReporter(QuietReporter):
    """One line every 30 seconds, and one when a phase ends."""

    def __init__(self, printer: ProblemPrinter, *, show_progress: bool = True) -> None:
        super().__init__(printer)
        self._show_progress = show_progress
        self._phase, self._done, self._before, self._total = "", 0, 0, 0
        self._started = self._last_line = 0.0
        self._note = ""

    def emit(self, event: Event) -> None:
        """Count and, when it is time, print a line."""
        super().emit(event)
        match event:
            case Noted(text=text):
                show_note(text)
            case PhaseStarted(phase=phase, total=total, before=before):
                self._phase, self._done, self._before, self._total, self._note = phase, before, before, total or 0, ""
                self._started = self._last_line = time.monotonic()
            case Advanced(count=count, note=note):
                self._done += count
                if count and note:
                    self._note = note
                # The last item has its line when the phase ends.
                if self._done != self._total and time.monotonic() - self._last_line >= PLAIN_INTERVAL_SECONDS:
                    self._line(note or self._note)
            case PhaseFinished() if self._done > self._before:
                # Not the note of what went on between two items, such as a preview, which is over.
                self._line(self._note)

    def _line(self, note: str) -> None:
        self._last_line = time.monotonic()
        if not self._show_progress:
            return
        elapsed = max(self._last_line - self._started, 1e-9)
        total = f"/{self._total}" if self._total else ""
        note = f"  {printable(note)}" if note else ""
        speed = (self._done - self._before) / elapsed
        rate = f"  {_rate_text(speed)}" if speed else ""
        show_note(f"{self._phase} {self._done}{total}  {clock_text(elapsed)}{rate}{note}")


class _RateColumn(bar.ProgressColumn):
    """Items per second, or seconds per item when slow."""

    def render(self, task: bar.Task) -> Text:
        speed = _speed(task)
        return Text(_rate_text(speed) if speed and task.fields["counted"] else "")


def _speed(task: bar.Task) -> float:
    """Return the items per second since the phase began.

    Rich's own speed leaves out the first items, and so is far too high for a few that end together.
    """
    seconds = task.finished_time or task.elapsed or 0.0
    return (task.completed - task.fields["before"]) / seconds if seconds else 0.0


class _CountColumn(bar.MofNCompleteColumn):
    """Done and all; nothing for a phase that counts nothing, such as loading a model."""

    def render(self, task: bar.Task) -> Text:
        # Without Rich's green, which cannot be read on white.
        return Text(super().render(task).plain if task.fields["counted"] else "")


class _TimeColumn(bar.ProgressColumn):
    """Time left; time taken when there is none left, or nobody knows."""

    def render(self, task: bar.Task) -> Text:
        speed = _speed(task)
        if task.finished or not speed or task.remaining is None:
            return Text(clock_text(task.finished_time or task.elapsed or 0.0))
        return Text(f"{clock_text(task.remaining / speed)} left")


class _ItemColumn(bar.ProgressColumn):
    """The item in hand, or the note of the task; a name that is too long loses its beginning."""

    def render(self, task: bar.Task) -> _Tail:
        return _Tail(task.fields["item"])


@dataclass(frozen=True)
class _Tail:
    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(_short(self.text, options.max_width), no_wrap=True)


class BarReporter(QuietReporter):
    """A Rich progress bar on stderr with the current item, rate and time left."""

    def __init__(self, printer: ProblemPrinter) -> None:
        super().__init__(printer)
        self._progress = bar.Progress(
            bar.TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            bar.BarColumn(bar_width=12),
            _CountColumn(table_column=Column(no_wrap=True)),
            _TimeColumn(table_column=Column(no_wrap=True)),
            _RateColumn(table_column=Column(no_wrap=True)),
            _ItemColumn(table_column=Column(ratio=1)),
            console=err(),
            expand=True,
            transient=False,
        )
        self._task: bar.TaskID | None = None
        self._counted = True

    def __enter__(self) -> BarReporter:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            # Work that stopped has nothing in hand any more.
            self._progress.update(self._task, item="")
        self._progress.stop()

    def emit(self, event: Event) -> None:
        """Move the bar or print above it."""
        super().emit(event)
        match event:
            case Noted(text=text):
                show_note(text)
            case PhaseStarted(phase=phase, total=total, before=before):
                self._counted = total is not None
                self._task = None
                if total != 0:
                    self._task = self._progress.add_task(
                        phase, total=total, completed=before, item="", counted=self._counted, before=before
                    )
            case Advanced(count=count, item=item, note=note) if self._task is not None:
                self._progress.update(self._task, advance=count, item=printable(note or item))
            case PhaseFinished() if self._task is not None:
                self._progress.update(self._task, item="")
                self._progress.stop_task(self._task)
                if not self._counted:
                    self._progress.update(self._task, total=1, completed=1)


def _short(name: str, limit: int) -> str:
    """Return ``name``, or its end behind an ellipsis where it is longer than ``limit``."""
    if len(name) <= limit:
        return name
    return f"…{name[len(name) - limit + 1 :]}" if limit > 0 else ""


def _rate_text(per_second: float) -> str:
    if per_second >= 100:
        return f"{per_second:.0f}/s"
    if per_second >= 1:
        return f"{per_second:.1f}/s"
    return f"{1 / per_second:.1f} s each"
