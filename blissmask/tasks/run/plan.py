"""What every task shares: a plan made before anything is written, a run that does exactly the plan, and a summary.

``plan`` reads names, headers and fingerprints only, finds every problem it can see, and decides item by item. ``run``
does the plan.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from blissmask.errors import Problem
from blissmask.events import NullReporter, Reporter
from blissmask.processes import Processes
from blissmask.storage.seen import Seen, States
from blissmask.storage.short_path import ShortPath, full, shortened


class Action(StrEnum):
    """What the plan decided for one item."""

    WRITE = "write"
    SKIP = "skip"
    FAIL = "fail"


class Kept(StrEnum):
    """Why an existing output is left alone although it may be stale."""

    LINK = "a symbolic link stands there, kept"
    FOREIGN = "not written by this command, kept"
    EDITED = "edited since it was written, kept"


@dataclass(frozen=True, slots=True, init=False)
class PlannedItem:
    """One line of a plan; it holds its files in short, since there may be a million of them.

    Attributes:
        key: the item's key, unique within the plan.
        action: write, skip or fail.
        reason: why, in a few words: "already fresh", "mask resized from 1024x1536", or what is wrong.
        at_fault: of an item that fails, the files and places to mend; all inputs where it is empty.
        pixels: of an item that is written, the pixels of the photo that a worker decodes; 0 where that is not known.
        states: of the inputs and the output, before the plan looked into them; see ``storage.seen``. Empty for items
            that are not written.
    """

    key: str
    action: Action
    reason: str
    at_fault: tuple[str, ...]
    pixels: int
    states: States
    _inputs: tuple[ShortPath, ...]
    _output: ShortPath | None

    def __init__(
        self,
        key: str,
        action: Action,
        reason: str = "",
        inputs: Iterable[Path] = (),
        output: Path | None = None,
        *,
        at_fault: tuple[str, ...] = (),
        pixels: int = 0,
        states: States = b"",
    ) -> None:
        hold = functools.partial(object.__setattr__, self)
        hold("key", key)
        hold("action", action)
        # Most items have one of a few reasons.
        hold("reason", sys.intern(str(reason)))
        hold("at_fault", at_fault)
        hold("pixels", pixels)
        hold("states", states)
        hold("_inputs", tuple(map(ShortPath.of, inputs)))
        hold("_output", shortened(output))

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Return the files that are read; the first one is the photo or video."""
        return tuple(short.path for short in self._inputs)

    @property
    def output(self) -> Path | None:
        """Return the file or folder that is written; None where none is, or where it was not known yet."""
        return full(self._output)

    @property
    def seen(self) -> Seen:
        """Return what the plan saw of the item's files."""
        return Seen(self.inputs, self.output, self.states)

    @property
    def target(self) -> Path:
        """Return ``output``, for commands that plan one for every item they write or skip."""
        assert self._output is not None
        return self._output.path

    @property
    def problem(self) -> Problem:
        """Return why an item fails, with the files at fault."""
        return Problem(self.reason, self.at_fault).of(*self.inputs)

    def because(self, reason: str, action: Action | None = None) -> PlannedItem:
        """Return this item with another reason, and with another action where one is given."""
        return PlannedItem(
            self.key,
            action or self.action,
            reason,
            self.inputs,
            self.output,
            at_fault=self.at_fault,
            pixels=self.pixels,
            states=self.states,
        )

    def failing(self, problem: Problem) -> PlannedItem:
        """Return this item as one that fails because of ``problem``."""
        return PlannedItem(
            self.key, Action.FAIL, problem.what, self.inputs, self.output, at_fault=problem.where, pixels=self.pixels
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text for the summary; numbers are formatted by the task that knows their unit.

    Headings in a terminal begin with a capital letter, unless they are names; on pages they are small.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """What a run will do. Tasks subclass it to carry what ``run`` needs.

    Attributes:
        command: the subcommand, e.g. ``to-alpha``.
        items: decisions, in order.
        outputs: folders that are written to, and locked.
        warnings: what a user should know before the run.
        tables: what ``--dry-run`` shows beside the items.
        details: what ``--dry-run --json`` adds, JSON values only.
    """

    command: str
    items: Sequence[PlannedItem] = ()
    outputs: tuple[Path, ...] = ()
    warnings: list[Problem] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)

    def having(self, action: Action) -> list[PlannedItem]:
        """Return the items with this action, in order."""
        return [item for item in self.items if item.action is action]

    def keep_own(self, processes: Processes) -> None:
        """Keep the items of one process of a job array; over all processes each item comes exactly once.

        By the position among all items, finished ones included: processes that start later find more of them.
        """
        self.items = processes.share(self.items)

    @property
    def largest_pixels(self) -> int:
        """Return the pixels of the largest photo among the items to be written; 0 where none is known."""
        return max((item.pixels for item in self.having(Action.WRITE)), default=0)


@dataclass(slots=True)
class Explanation(Plan):
    """A plan that writes nothing: ``--explain`` shows its tables and details."""

    def summary(self) -> Summary:
        """Return the summary of its run."""
        return Summary(self.command, tables=list(self.tables), details=dict(self.details))


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that failed, in plan or run.

    Attributes:
        key: the item's key.
        problem: names the files at fault, which need not be the photo or video of the item.
    """

    key: str
    problem: Problem


@dataclass(slots=True)
class Summary:
    """What a run did.

    Attributes:
        items: number of items that the plan listed, as ``--dry-run`` shows them.
        written, skipped: item counts.
        failures: items that failed, with the reason; finished work is kept.
        tables, warnings, details: as in Plan, about the result.
        told_again: warnings of the plan that are shown once more at the end, since hours lie between.
        destination: where the results are, as shown in the last line.
        headline: what was done, for the last line, where counts of items say too little.
        seconds: wall time.
    """

    command: str
    items: int = 0
    written: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    told_again: list[Problem] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)
    destination: str = ""
    headline: str = ""
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """Return 0, or 3 when items failed."""
        return 3 if self.failures else 0

    def to_json(self) -> Mapping[str, object]:
        """Return the ``--json`` document; keys are frozen by a test, new ones may be added."""
        return {
            "type": "summary",
            "command": self.command,
            "items": self.items,
            "written": self.written,
            "skipped": self.skipped,
            "failed": [
                {"item": failure.key, "reason": failure.problem.what, "where": list(failure.problem.where)}
                for failure in self.failures
            ],
            **self.details,
            "warnings": [problem.what for problem in self.warnings],
            "seconds": round(self.seconds, 3),
            "exit_code": self.exit_code,
        }


def planned_failures(plan: Plan) -> list[Failure]:
    """Return what the plan already knows cannot be done."""
    return [Failure(item.key, item.problem) for item in plan.having(Action.FAIL)]


def never_stopped() -> int:
    """Return that no signal has come, for runs that nothing interrupts."""
    return 0


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run is given besides its plan.

    Attributes:
        reporter: receives progress and warnings.
        jobs: items worked on at the same time, >= 1.
        fail_fast: stop at the first failure.
        stop_signal: returns the number of the signal that asked to stop, or 0; checked between items.
    """

    reporter: Reporter = field(default_factory=NullReporter)
    jobs: int = 1
    fail_fast: bool = False
    stop_signal: Callable[[], int] = never_stopped


def places_of(names: Iterable[object]) -> tuple[str, ...]:
    """Return names as the ``where`` of a Problem; the screen decides how many of them are shown."""
    return tuple(map(str, names))
