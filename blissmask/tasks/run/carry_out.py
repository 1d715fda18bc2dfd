"""What the runs of all mask commands share: work through what the plan says to write, and count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from blissmask.errors import BlissmaskError
from blissmask.tasks.mask_files.freshness import Kept
from blissmask.tasks.run.plan import Action, Failure, Plan, PlannedItem, RunContext, Summary, planned_failures
from blissmask.tasks.run.workers import work_through

ResultT = TypeVar("ResultT")


def begin(plan: Plan) -> Summary:
    """Return the summary of a run that has done nothing yet: what the plan skipped and kept, and what it knows to fail."""
    return Summary(
        plan.command,
        skipped=len(plan.having(Action.SKIP)),
        failures=planned_failures(plan),
        details={"kept": [item.key for item in plan.items if item.reason in tuple(Kept)]},
        destination=", ".join(str(folder) for folder in plan.outputs),
    )


def carry_out(
    plan: Plan, work: Callable[[PlannedItem], ResultT], context: RunContext, summary: Summary, *, phase: str
) -> Iterator[tuple[PlannedItem, ResultT]]:
    """Do ``work`` on every item to be written; yield what succeeded, put what failed into ``summary``.

    Raises:
        MachineError, StoppedError: as ``work_through``.
    """
    todo = plan.having(Action.WRITE)
    for item, outcome in work_through(todo, work, context, phase=phase, total=len(todo), name=lambda item: item.key):
        if isinstance(outcome, BlissmaskError):
            summary.failures.append(Failure(item.key, outcome.problems[0]))
        else:
            summary.written += 1
            yield item, outcome
