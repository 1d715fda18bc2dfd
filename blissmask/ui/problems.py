"""Errors, warnings and notes as text: what, where, how to mend."""

from __future__ import annotations

import shlex
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from blissmask.errors import BlissmaskError, Hint, Problem, UsageError
from blissmask.ui.console import err, folded, printable

_OF_AN_ERROR, _OF_A_WARNING = 10, 3
"""Places that are shown without ``--verbose``."""


@dataclass(frozen=True, slots=True)
class ProblemPrinter:
    """Prints problems on stderr.

    Attributes:
        verbose: show all places of a problem.
        config: the configuration file that the user named; commands in hints name it, so that they can be typed as
            shown.
    """

    verbose: bool = False
    config: Path | None = None

    def error(self, error: BlissmaskError) -> None:
        """Print each problem of ``error``."""
        # What is wrong with a configuration is mended in one go, so all places are shown; of many files, some are.
        places = None if isinstance(error, UsageError) else _OF_AN_ERROR
        for problem in error.problems:
            self._show("error", "bold red", problem, places)

    def warning(self, problem: Problem) -> None:
        """Print a warning; the work goes on."""
        self._show("warning", "bold yellow", problem, _OF_A_WARNING)

    def failed(self, problem: Problem) -> None:
        """Print which items failed, as many as of an error; everything else is done."""
        self._show("warning", "bold yellow", problem, _OF_AN_ERROR)

    def _show(self, label: str, style: str, problem: Problem, places: int | None) -> None:
        console = err()
        console.print(f"{label}:", style=style, end=" ")
        column = len(label) + 2
        console.print(folded(console, printable(problem.what), column=column, hanging=column))
        shown = problem.where[: None if self.verbose else places]
        for place in shown:
            console.print("  " + folded(console, printable(place), column=2, hanging=4))
        if len(shown) < len(problem.where):
            console.print(f"  and {len(problem.where) - len(shown)} more (--verbose lists all)")
        if problem.fix:
            self._show_hint(problem.fix)
        if problem.where or problem.fix:
            console.print()

    def _show_hint(self, fix: str | Hint) -> None:
        console = err()
        config = shlex.quote(str(self.config)) if self.config is not None else ""
        text = fix.text(config) if isinstance(fix, Hint) else fix
        first, *rest = text.splitlines()
        console.print()
        console.print("hint:", style="bold cyan", end=" ")
        console.print(folded(console, printable(first), column=6, hanging=6))
        for line in rest:
            console.print("      " + folded(console, printable(line.strip()), column=6, hanging=6))


def show_note(text: str) -> None:
    """Print a line of information on stderr."""
    err().print(folded(err(), printable(text), hanging=2))


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
