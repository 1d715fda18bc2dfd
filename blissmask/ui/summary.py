"""Plans and summaries as text on stdout."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from blissmask.errors import Problem
from blissmask.plurals import counted, verb
from blissmask.ui.console import ALARM, DONE, duration_text, folded, out, printable, unbroken
from blissmask.ui.problems import ProblemPrinter
from blissmask.ui.table import show_table

if TYPE_CHECKING:
    from blissmask.tasks.run.plan import Plan, PlannedItem, Summary

_SHOWN_ITEMS = 20
"""Items to write, or to skip, that a plan lists: about what a terminal of 24 lines shows."""
_STYLES = {"write": DONE, "skip": "dim", "fail": ALARM}


def show_plan(plan: Plan, *, verbose: bool) -> None:
    """Print what a run would do; nothing was written."""
    for action in ("fail", "write", "skip"):
        items = [item for item in plan.items if item.action.value == action]
        shown = items if verbose or action == "fail" else items[:_SHOWN_ITEMS]
        for item in shown:
            _print_item(item)
        if len(shown) < len(items):
            out().print(f" and {len(items) - len(shown)} more to {action} (--verbose lists all)")
    for table in plan.tables:
        show_table(table)
    counts = {action: sum(item.action.value == action for item in plan.items) for action in ("write", "skip", "fail")}
    work = ", ".join(f"{action} {count}" for action, count in counts.items() if count or action != "fail")
    would = f"Would {work}. " if plan.items else ""
    out().print(f"{would}Nothing was written (--dry-run)")


def show_summary(summary: Summary, *, printer: ProblemPrinter) -> None:
    """Print what a run did.

    Args:
        summary: what it did.
        printer: prints warnings and failures on stderr; those of the plan, which it has printed, not again.
    """
    for table in summary.tables:
        show_table(table)
    destination = f" -> {printable(summary.destination)}" if summary.destination else ""
    counts = f"Written {summary.written}, skipped {summary.skipped}, failed {len(summary.failures)}"
    if summary.written or summary.skipped or summary.failures or destination:
        out().print(f"{summary.headline or counts}{destination}  ({duration_text(summary.seconds)})")
    for problem in summary.warnings:
        printer.warning_once(problem)
    for problem in summary.told_again:
        printer.warning(dataclasses.replace(problem, what=f"as told at the start, {problem.what}"))
    if summary.failures:
        # Clips of one video fail because of one file, which is named once.
        failed = tuple(dict.fromkeys(failure.problem.line for failure in summary.failures))
        finished = "everything else is finished and kept; " if summary.written or summary.skipped else ""
        fix = f"{finished}mend {verb(len(failed), 'it', 'these')}, then run the same command again"
        printer.failed(Problem(f"{counted(len(summary.failures), 'item')} failed", failed, fix))


def _print_item(item: PlannedItem) -> None:
    action = f" {item.action.value:<6}  "
    first, *others = [printable(str(path)) for path in item.inputs] or [printable(item.key)]
    parts = [unbroken(first), *(unbroken(f"+ {path}") for path in others)]
    if item.output is not None:
        parts.append(unbroken(f"-> {printable(str(item.output))}"))
    if reason := _reason(item):
        parts.append(f" {printable(reason)}")
    out().print(action, style=_STYLES[item.action.value], end="")
    out().print(folded(out(), " ".join(parts), column=len(action), hanging=len(action) + 2))


def _reason(item: PlannedItem) -> str:
    """Return why an item gets its action; one that fails says which file is at fault, unless all of its line is."""
    all_at_fault = set(item.at_fault) == {str(path) for path in item.inputs}
    return item.reason if all_at_fault else Problem(item.reason, item.at_fault).line
