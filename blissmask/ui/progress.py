"""Progress while a task runs: a Rich bar in a terminal, a plain line every 30 seconds elsewhere, JSON lines for ``train --json``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as bar  # noqa: TID251
from rich.text import Text  # noqa: TID251

from blissmask.config.run import RunSection
from blissmask.events import Advanced, Announced, Event, Measured, Noted, NullReporter, PhaseFinished, PhaseStarted, Reporter, Warned
from blissmask.ui import problems, report_json
from blissmask.ui.console import err, printable

PLAIN_INTERVAL_SECONDS = 30.0


@contextmanager
def make_reporter(run: RunSection, command: str, *, silent: bool = False) -> Iterator[Reporter]:
    """Yield the reporter that suits the terminal and the flags; ``silent`` is for all but the first of several processes."""
    if silent:
        yield NullReporter()
    elif run.json_output and command == "train":
        yield report_json.JsonLines()
    elif run.quiet:
        yield QuietReporter(verbose=run.verbose)
    elif err().is_terminal and not run.no_progress:
        with BarReporter(verbose=run.verbose) as reporter:
            yield reporter
    else:
        yield PlainReporter(verbose=run.verbose, show_progress=not run.no_progress)


class QuietReporter:
    """Shows warnings and what must always be seen."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose

    def emit(self, event: Event) -> None:
        """Show ``event`` when it is a warning or an announcement."""
        match event:
            case Warned(problem=problem):
                problems.show_warning(problem, verbose=self._verbose)
            case Announced(lines=lines):
                for line in lines:
                    err().print(line)


class PlainReporter(QuietReporter):
    """One line when a phase starts, one every 30 seconds, one when it ends."""

    def __init__(self, *, verbose: bool, show_progress: bool = True) -> None:
        super().__init__(verbose=verbose)
        self._show_progress = show_progress
        self._phase, self._done, self._total = "", 0, 0
        self._started = self._last_line = 0.0
        self._note = ""

    def emit(self, event: Event) -> None:
        """Count and, when it is time, print a line."""
        super().emit(event)
        match event:
            case Noted(text=text):
                problems.show_note(text)
            case PhaseStarted(phase=phase, total=total):
                self._phase, self._done, self._total, self._note = phase, 0, total or 0, ""
                self._started = self._last_line = time.monotonic()
            case Advanced(count=count, note=note):
                self._done += count
                self._note = note or self._note
                if time.monotonic() - self._last_line >= PLAIN_INTERVAL_SECONDS:
                    self._line()
            case Measured(values=values) if "loss" in values:
                self._note = f"loss {values['loss']:.4f}"
            case PhaseFinished() if self._done:
                self._line()

    def _line(self) -> None:
        self._last_line = time.monotonic()
        if not self._show_progress:
            return
        elapsed = max(self._last_line - self._started, 1e-9)
        total = f"/{self._total}" if self._total else ""
        note = f"  {printable(self._note)}" if self._note else ""
        problems.show_note(f"{self._phase} {self._done}{total}  {_duration(elapsed)}  {self._done / elapsed:.1f}/s{note}")


class _RateColumn(bar.ProgressColumn):
    """Items per second, or seconds per item when slow."""

    def render(self, task: bar.Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


class BarReporter(QuietReporter):
    """A Rich progress bar on stderr with the current item, rate and time left."""

    def __init__(self, *, verbose: bool) -> None:
        super().__init__(verbose=verbose)
        self._progress = bar.Progress(
            bar.TextColumn("{task.description}", markup=False),
            bar.BarColumn(bar_width=24),
            bar.MofNCompleteColumn(),
            bar.TimeElapsedColumn(),
            bar.TimeRemainingColumn(compact=True),
            _RateColumn(),
            bar.TextColumn("{task.fields[item]}", markup=False),
            console=err(),
            transient=False,
        )
        self._task: bar.TaskID | None = None

    def __enter__(self) -> BarReporter:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def emit(self, event: Event) -> None:
        """Move the bar or print above it."""
        super().emit(event)
        match event:
            case Noted(text=text):
                problems.show_note(text)
            case PhaseStarted(phase=phase, total=total):
                self._task = self._progress.add_task(phase, total=total, item="")
            case Advanced(count=count, item=item, note=note) if self._task is not None:
                self._progress.update(self._task, advance=count, item=_short(printable(note or item)))
            case Measured(values=values) if self._task is not None and "loss" in values:
                self._progress.update(self._task, item=f"loss {values['loss']:.4f}")
            case PhaseFinished() if self._task is not None:
                self._progress.update(self._task, item="")


def _short(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else f"…{name[1 - limit :]}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
