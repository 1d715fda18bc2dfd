"""Errors, warnings and notes as text: what, where, how to mend."""

from __future__ import annotations

import re
import shlex
import tempfile
import traceback
from pathlib import Path

from blissmask.errors import BlissmaskError, Problem, UsageError
from blissmask.ui.console import err, folded, printable

_OF_AN_ERROR, _OF_A_WARNING = 10, 3
"""Places that are shown without ``--verbose``."""
_TO_RUN = re.compile(
    r"((?:run `|^)blissmask (?:masks|instance|apply|to-alpha|cache|train))\b(?! --(?:config|help))", re.MULTILINE
)
_typed: dict[str, str] = {}
"""The configuration that the user named, under ``config``."""


def name_config(path: Path | None) -> None:
    """Let commands in hints name the configuration that the user named, so that they can be typed as shown."""
    _typed.clear()
    if path is not None:
        _typed["config"] = shlex.quote(str(path))


def show_error(error: BlissmaskError, *, verbose: bool) -> None:
    """Print each problem of ``error`` on stderr."""
    # What is wrong with a configuration is mended in one go, so it is all told; of many files, some are.
    for problem in error.problems:
        _show("error", "bold red", problem, places=None if verbose or isinstance(error, UsageError) else _OF_AN_ERROR)


def show_warning(problem: Problem, *, verbose: bool) -> None:
    """Print a warning on stderr; the work goes on."""
    _show("warning", "bold yellow", problem, places=None if verbose else _OF_A_WARNING)


def show_failed(problem: Problem, *, verbose: bool) -> None:
    """Print on stderr which items failed, as many as of an error; everything else is done."""
    _show("warning", "bold yellow", problem, places=None if verbose else _OF_AN_ERROR)


def show_note(text: str) -> None:
    """Print a line of information on stderr."""
    err().print(folded(err(), printable(text), hanging=2))


def show_bug(error: BaseException, *, verbose: bool) -> None:
    """Say that it is our mistake, and where the traceback was saved."""
    trace = _trace(error)
    with tempfile.NamedTemporaryFile(prefix="blissmask-", suffix=".log", delete=False) as log:
        log.write(trace.encode("utf-8", "backslashreplace"))
    problem = Problem(
        f"a mistake of ours: {type(error).__name__}: {error}",
        (f"traceback saved as {Path(log.name)}",),
        "run again with --verbose to see it here; please report it with that file",
    )
    _show("error", "bold red", problem, places=None)
    if verbose:
        show_traceback(error)


def show_traceback(error: BaseException) -> None:
    """Print on stderr where in our code an error came from."""
    err().print(_trace(error))


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _with_config(fix: str) -> str:
    return _TO_RUN.sub(rf"\1 --config {_typed['config']}", fix) if _typed else fix


def _show(label: str, style: str, problem: Problem, *, places: int | None) -> None:
    console = err()
    console.print(f"{label}:", style=style, end=" ")
    column = len(label) + 2
    console.print(folded(console, printable(problem.what), column=column, hanging=column))
    shown = problem.where[:places]
    for place in shown:
        console.print("  " + folded(console, printable(place), column=2, hanging=4))
    if len(shown) < len(problem.where):
        console.print(f"  and {len(problem.where) - len(shown)} more (--verbose lists all)")
    if problem.fix:
        first, *rest = _with_config(problem.fix).splitlines()
        console.print()
        console.print("hint:", style="bold cyan", end=" ")
        console.print(folded(console, printable(first), column=6, hanging=6))
        for line in rest:
            console.print("      " + folded(console, printable(line.strip()), column=6, hanging=6))
    if problem.where or problem.fix:
        console.print()
