"""Share the items of a plan among the processes of a run, and bring what became of them together in the first one.

All processes make the same plan. A job array whose processes do not reach each other (``RANK`` and ``WORLD_SIZE``
without ``MASTER_ADDR``) cuts the plan itself, so that each process reports its own items; see ``Plan.keep_own``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from blissmask.errors import MachineError
from blissmask.processes import Processes
from blissmask.tasks.run.plan import Failure, Plan, PlannedItem, Summary

ResultT = TypeVar("ResultT")


def refuse_other_plans(todo: Sequence[PlannedItem], processes: Processes) -> None:
    """Wait for all processes, and refuse to share what they do not agree on.

    Raises:
        MachineError: the processes found different items: files changed while they planned, or they see other folders.
    """
    digest = hashlib.sha256("\0".join(item.key for item in todo).encode("utf-8", "surrogateescape")).hexdigest()
    if len(set(processes.gather(digest))) > 1:
        raise MachineError(
            "the processes found different things to do", fix="let all machines see the same folders, and run again"
        )


def bring_together(
    mine: Mapping[str, ResultT], failed: Sequence[Failure], processes: Processes, summary: Summary
) -> dict[str, ResultT]:
    """Return the results of the other processes by the keys of their items, and count them in ``summary``.

    Args:
        mine: the results of this process.
        failed: its failures, which ``summary`` has already.
        processes: all of them come here.
        summary: of the first process, which reports for all.
    """
    others: dict[str, ResultT] = {}
    for rank, (results, failures) in enumerate(processes.gather((dict(mine), list(failed)))):
        if rank != processes.rank:
            others |= results
            summary.failures += failures
            summary.written += len(results)
    return others


def in_plan_order(plan: Plan, results: Mapping[str, ResultT]) -> dict[str, ResultT]:
    """Return results by the keys of their items, in the order of the plan."""
    return {item.key: results[item.key] for item in plan.items if item.key in results}


def by_plan(plan: Plan, failures: Iterable[Failure]) -> list[Failure]:
    """Return failures in the order of the plan."""
    positions = {item.key: position for position, item in enumerate(plan.items)}
    return sorted(failures, key=lambda failure: positions.get(failure.key, len(positions)))
