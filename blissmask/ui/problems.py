"""Errors, warnings and notes as text: what, where, how to mend."""

from __future__ import annotations

import shlex
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text  # noqa: TID251

from blissmask.errors import BlissmaskError, Hint, Problem, StoppedError, UsageError
from blissmask.ui.console import ADVICE, ALARM, WARNING, empty_line, err, folded, printable

_OF_AN_ERROR, _OF_A_WARNING = 10, 3
"""Places that are shown without ``--verbose``."""


@dataclass(frozen=True, slots=True)
class ProblemPrinter:
    """Prints problems on stderr.

    Attributes:
        verbose: show all places of a problem.
        config: the configuration file that the user named; commands in hints name it, so that they can be typed as
            shown.
        typed: command -> flag -> the flag and its value as the user typed them, for the same reason.
    """

    verbose: bool = False
    config: Path | None = None
    typed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    _told: set[tuple[str, tuple[str, ...]]] = field(default_factory=set, init=False)

    def fix_text(self, fix: str | Hint) -> str:
        """Return a hint with what the user typed."""
        if isinstance(fix, str):
            return fix
        config = shlex.quote(str(self.config)) if self.config is not None else ""
        return fix.text(config, self.typed.get(fix.command, {}))

    def stopped(self, error: StoppedError) -> None:
        """Print that the work stopped as it was asked to, which is no error."""
        for problem in error.problems:
            show_note(problem.what)
            if problem.fix:
                self._show_hint(problem.fix)

    def error(self, error: BlissmaskError) -> None:
        """Print each problem of ``error``."""
        if isinstance(error, StoppedError):
            self.stopped(error)
            return
        # What is wrong with a configuration is mended in one go, so all places are shown; of many files, some are.
        places = None if isinstance(error, UsageError) else _OF_AN_ERROR
        for problem in error.problems:
            self._show("error", ALARM, problem, places)

    def warning(self, problem: Problem) -> None:
        """Print a warning; the work goes on."""
        self._show("warning", WARNING, problem, _OF_A_WARNING)

    def warning_once(self, problem: Problem) -> None:
        """Print a warning of a plan or a summary, but not a second time: both may hold it, and so may several commands.

        Those that ``train --prepare`` runs look at the same photos and masks.
        """
        told = (problem.what, problem.places)
        if told not in self._told:
            self._told.add(told)
            self.warning(problem)

    def failed(self, problem: Problem) -> None:
        """Print which items failed, as many as of an error; everything else is done."""
        self._show("warning", WARNING, problem, _OF_AN_ERROR)

    def hint(self, fix: str | Hint) -> None:
        """Print a hint that belongs to no problem."""
        self._show_hint(fix)

    def _show(self, label: str, style: str, problem: Problem, places: int | None) -> None:
        console = err()
        self._print_labelled(label, style, problem.what)
        shown = problem.where[: None if self.verbose else places]
        for place in shown:
            console.print("  " + folded(console, printable(place), column=2, hanging=4))
        if len(shown) < len(problem.where):
            console.print(f"  and {len(problem.where) - len(shown)} more (--verbose lists all)")
        if problem.within:
            console.print(f"  {problem.within}")
        if problem.fix:
            self._show_hint(problem.fix)
        if problem.places or problem.fix:
            console.print()

    def _show_hint(self, fix: str | Hint) -> None:
        console = err()
        first, *rest = self.fix_text(fix).splitlines()
        empty_line()
        self._print_labelled("hint", ADVICE, first)
        for line in rest:
            console.print("      " + folded(console, printable(line.strip()), column=6, hanging=6))

    def _print_labelled(self, label: str, style: str, text: str) -> None:
        """Print a label and a sentence in one go: between two, a progress bar would take the rest of the line."""
        console, column = err(), len(label) + 2
        shown = folded(console, printable(text), column=column, hanging=column)
        console.print(Text.assemble((f"{label}:", style), f" {shown}"))


def show_note(text: str) -> None:
    """Print a line of information on stderr."""
    err().print(folded(err(), printable(text), hanging=2))


def show_heading(text: str) -> None:
    """Print on stderr which part of the work begins."""
    empty_line()
    err().print(printable(text), style="bold")


def show_hint(text: str) -> None:
    """Print a hint on stderr that belongs to no problem."""
    ProblemPrinter().hint(text)


def show_bug(error: BaseException, *, verbose: bool) -> None:
    """Print on stderr that it is our mistake, and where the traceback was saved."""
    trace = _trace(error)
    with tempfile.NamedTemporaryFile(prefix="blissmask-", suffix=".log", delete=False) as log:
        log.write(trace.encode("utf-8", "backslashreplace"))
    problem = Problem(
        f"a mistake of ours: {type(error).__name__}: {error}",
        (f"traceback saved as {Path(log.name)}",),
        "run again with --verbose to see it here; please report it with that file",
    )
    ProblemPrinter().error(BlissmaskError.several([problem]))
    if verbose:
        show_traceback(error)


def show_traceback(error: BaseException) -> None:
    """Print on stderr where in our code an error came from."""
    err().print(_trace(error))


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
