"""tasks/run/shares.py: every item comes once, and what others did is counted once."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.errors import MachineError, Problem
from blissmask.processes import Processes
from blissmask.tasks.mask_files.contact_sheet import with_own_sheet
from blissmask.tasks.run.plan import Action, Failure, Plan, PlannedItem, Summary
from blissmask.tasks.run.shares import bring_together, by_plan, in_plan_order, refuse_other_plans


def items(*keys):
    return [PlannedItem(key, Action.WRITE) for key in keys]


@dataclass(frozen=True)
class Met(Processes):
    """Two processes, of which the other one gives ``theirs``."""

    theirs: list = field(default_factory=list)

    def gather(self, mine):
        return [mine, self.theirs[0]]


def test_over_all_processes_of_a_job_array_each_item_comes_once():
    plans = [Plan("masks", items=items(*"abcdefg")) for _ in range(3)]
    for rank, plan in enumerate(plans):
        plan.keep_own(Processes(rank=rank, count=3, apart=True))
    assert sorted(item.key for plan in plans for item in plan.items) == list("abcdefg")


def test_each_process_of_a_job_array_writes_a_sheet_of_its_own():
    options = MasksSection(sheet=Path("out/sheet.html"))
    assert with_own_sheet(options).sheet == Path("out/sheet.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK", "3")
        patch.setenv("WORLD_SIZE", "8")
        patch.delenv("MASTER_ADDR", raising=False)
        assert with_own_sheet(options).sheet == Path("out/sheet.3.html")


def test_results_and_failures_of_others_are_counted_once():
    summary = Summary("masks", written=1, failures=[Failure("b", Problem("mine"))])
    theirs = Met(rank=0, count=2, theirs=[({"c": 3}, [Failure("d", Problem("theirs"))])])
    assert bring_together({"a": 1}, summary.failures, theirs, summary) == {"c": 3}
    assert summary.written == 2
    assert [failure.key for failure in summary.failures] == ["b", "d"]


def test_processes_that_found_different_items_are_refused():
    with pytest.raises(MachineError, match="different things to do"):
        refuse_other_plans(items("a"), Met(rank=0, count=2, theirs=["another digest"]))


def test_results_and_failures_stand_in_the_order_of_the_plan():
    plan = Plan("masks", items=items("a", "b", "c"))
    assert list(in_plan_order(plan, {"c": 1, "a": 2})) == ["a", "c"]
    failures = [Failure("c", Problem("late")), Failure("a", Problem("early"))]
    assert [failure.key for failure in by_plan(plan, failures)] == ["a", "c"]
