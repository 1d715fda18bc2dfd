"""The ``--json`` documents: one on stdout for each command that is run; ``train`` prints one line per event.

``train --prepare`` and [[subjects]] run several.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from blissmask.errors import BlissmaskError, Hint, StoppedError, exit_code_of
from blissmask.events import Announced, Event, ItemsMeasured, Measured, Noted, PhaseFinished, PhaseStarted, Warned

if TYPE_CHECKING:
    from blissmask.tasks.run.plan import Plan, Summary


def show_summary(summary: Summary) -> None:
    """Print the summary document."""
    _print(summary.to_json())


def show_plan(plan: Plan) -> None:
    """Print the plan document of ``--dry-run``: every item, always whole."""
    items = [
        {
            "item": item.key,
            "action": item.action.value,
            "reason": item.reason,
            "where": list(item.problem.where) if item.action.value == "fail" else [],
            "inputs": [str(path) for path in item.inputs],
            "output": str(item.output) if item.output else None,
        }
        for item in plan.items
    ]
    warnings = [problem.what for problem in plan.warnings]
    _print({"type": "plan", "command": plan.command, "items": items, **plan.details, "warnings": warnings})


def show_error(error: BlissmaskError, fix_text: Callable[[str | Hint], str] = str) -> None:
    """Print the document that stands in for a summary: ``error``, or ``stopped`` where somebody asked for the stop.

    Args:
        error: what ended the run.
        fix_text: turns a hint into the text that the screen shows.
    """
    problems = [
        {"what": problem.what, "where": list(problem.places), "fix": fix_text(problem.fix)}
        for problem in error.problems
    ]
    kind = "stopped" if isinstance(error, StoppedError) else "error"
    _print({"type": kind, "problems": problems, "exit_code": exit_code_of(error)})


def show_bug(error: BaseException, *, exit_code: int) -> None:
    """Print the document that stands in for a summary when a mistake of ours ended the run."""
    what = f"a mistake of ours: {type(error).__name__}: {error}"
    _print({"type": "error", "problems": [{"what": what, "where": [], "fix": ""}], "exit_code": exit_code})


class JsonLines:
    """A Reporter that prints each event as one JSON line with a ``type``.

    When the program that reads the lines is gone, the run is asked to stop as by a closed terminal: it saves first.
    """

    def __init__(self) -> None:
        self._is_read = True

    def emit(self, event: Event) -> None:
        """Print ``event``; single items are left out, steps say enough."""
        if not self._is_read:
            return
        try:
            self._print(event)
        except BrokenPipeError:
            self._is_read = False
            signal.raise_signal(signal.SIGHUP)

    def _print(self, event: Event) -> None:
        match event:
            case Measured(step=step, values=values, total=total):
                # Steps are read from a GPU a few at a time; this is when they were read, in seconds since 1970.
                _print({"type": "step", "step": step, "total": total, "time": round(time.time(), 3), **values})
            case ItemsMeasured(step=step, items=items):
                lines = [{"item": item.name, "draws": item.draws, "loss": item.loss} for item in items]
                _print({"type": "items", "step": step, "items": lines})
            case PhaseStarted(phase=phase, total=total):
                _print({"type": "phase_started", "phase": phase, "total": total})
            case PhaseFinished(phase=phase):
                _print({"type": "phase_finished", "phase": phase})
            case Warned(problem=problem):
                _print({"type": "warning", "what": problem.what, "where": list(problem.places)})
            case Noted(text=text):
                _print({"type": "note", "text": text})
            case Announced(lines=lines):
                _print({"type": "banner", "lines": list(lines)})


def _print(document: Mapping[str, object]) -> None:
    # Lone surrogates (undecodable file names) must survive a strict reader: ASCII escapes do.
    sys.stdout.write(json.dumps(document, ensure_ascii=True, default=str) + "\n")
    sys.stdout.flush()
