"""Work through the items of a plan in threads: bounded, in order, one failure costs one item."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from blissmask.errors import (
    BlissmaskError,
    ChangedError,
    MachineError,
    MissingPackageError,
    ModelError,
    StoppedError,
    naming_files,
)
from blissmask.events import Advanced, PhaseFinished, PhaseStarted
from blissmask.processes import connected, this_process
from blissmask.storage.seen import Seen
from blissmask.tasks.run.plan import Action, Failure, Kept, Plan, PlannedItem, RunContext, Summary, planned_failures
from blissmask.tasks.run.shares import bring_together, by_plan, refuse_other_plans
from blissmask.vision import cores

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Arguments = ParamSpec("Arguments")

_BEGUN_AHEAD = 2
"""Items begun beyond one per thread, so that a thread has work while the main thread uses a result."""

_BETWEEN_SIGNALS = 0.2
"""Seconds between two looks for a signal while an item is in hand: a person takes that for at once."""

_WAITING_TO_BE_WRITTEN = 4
"""Pieces of background work that may wait. Beyond it the caller waits, so memory stays bounded when the disk is slower
than the encoder."""


def begin(plan: Plan) -> Summary:
    """Return the summary of a run that has done nothing yet: what the plan skips, keeps and expects to fail."""
    return Summary(
        plan.command,
        items=len(plan.items),
        skipped=len(plan.having(Action.SKIP)),
        failures=planned_failures(plan),
        details={"kept": [item.key for item in plan.items if item.reason in tuple(Kept)]},
        destination=", ".join(str(folder) for folder in plan.outputs),
    )


def carry_out(
    plan: Plan, work: Callable[[PlannedItem], ResultT], context: RunContext, summary: Summary, *, phase: str
) -> Iterator[tuple[PlannedItem, ResultT]]:
    """Do ``work`` on every item to be written; yield what succeeded, put what failed into ``summary``.

    An item whose files are not as the plan saw them fails, before and after it is read; ``work`` hands ``item.seen`` to
    what publishes its output, which looks once more. Several processes do their shares; the first one yields and counts
    what all of them did.

    Raises:
        MachineError, StoppedError: as ``work_through``.
    """
    processes, todo = this_process(), plan.having(Action.WRITE)
    if processes.count == 1 or processes.apart:
        yield from _done(todo, work, context, summary, phase=phase)
        return
    with connected(processes):
        refuse_other_plans(todo, processes)
        mine: dict[str, ResultT] = {}
        known = len(summary.failures)
        for item, result in _done(processes.share(todo), work, context, summary, phase=phase):
            mine[item.key] = result
            yield item, result
        others = bring_together(mine, summary.failures[known:], processes, summary)
    summary.failures = by_plan(plan, summary.failures)
    for item in todo:
        if item.key in others:
            yield item, others[item.key]


def _done(
    todo: Sequence[PlannedItem],
    work: Callable[[PlannedItem], ResultT],
    context: RunContext,
    summary: Summary,
    *,
    phase: str,
) -> Iterator[tuple[PlannedItem, ResultT]]:
    """Do ``work`` on the items of this process, as :func:`carry_out`."""
    checked = functools.partial(_do_if_unchanged, work)
    for item, outcome in work_through(todo, checked, context, phase=phase, total=len(todo), name=_key_of):
        if isinstance(outcome, BlissmaskError):
            summary.failures.append(Failure(item.key, outcome.as_one().of(*item.inputs)))
        else:
            summary.written += 1
            yield item, outcome


def _do_if_unchanged(work: Callable[[PlannedItem], ResultT], item: PlannedItem) -> ResultT:
    with reading(item.seen):
        return work(item)


@contextlib.contextmanager
def reading(seen: Seen) -> Iterator[None]:
    """Read files that a plan saw, in the block.

    Raises:
        ChangedError: a file is not as the plan saw it, or was not when reading it failed: a file that is half written
            looks damaged, and one of another shape does not fit its mask.
    """
    seen.check()
    try:
        yield
    except (ChangedError, MachineError):
        raise
    except Exception:
        seen.check()
        raise


def _key_of(item: PlannedItem) -> str:
    return item.key


def work_through(
    items: Iterable[ItemT],
    work: Callable[[ItemT], ResultT],
    context: RunContext,
    *,
    phase: str,
    total: int,
    name: Callable[[ItemT], str],
) -> Iterator[tuple[ItemT, ResultT | BlissmaskError]]:
    """Yield (item, result or error) for each item, in order, while ``context.jobs`` threads work ahead by a few items.

    Only a few results wait at any time, so memory does not grow with the number of items.

    Args:
        items: read lazily.
        work: called in threads. A BlissmaskError it raises becomes the item's result, unless every other item would
            fail of the same cause. So does the system's refusal of one file.
        phase, total, name: for progress.

    Raises:
        MachineError, MissingPackageError, ModelError: the machine failed (disk full), a package is missing, or the
            weights cannot be used.
        StoppedError: a signal asked to stop. The items in hand were finished and yielded first; no other was begun.
    """
    context.reporter.emit(PhaseStarted(phase, total))
    with cores.limited_to(context.jobs), ThreadPoolExecutor(context.jobs, thread_name_prefix="blissmask") as pool:
        begun = _ahead(items, lambda item: pool.submit(_begin, work, item, context.stop_signal), context)
        # Closed before the pool, which would wait for all that it was given.
        with contextlib.closing(begun):
            for item, future in begun:
                context.reporter.emit(Advanced(0, name(item)))
                try:
                    outcome = _outcome(future)
                except _NotBegunError:
                    continue
                yield item, outcome
                context.reporter.emit(Advanced(1, name(item)))
                if context.fail_fast and isinstance(outcome, BlissmaskError):
                    raise outcome
    context.reporter.emit(PhaseFinished(phase))
    if stopped := context.stop_signal():
        raise StoppedError(
            "stopped; finished items are kept", signal_number=stopped, fix="run the same command again to continue"
        )


class _NotBegunError(Exception):
    """The signal to stop came before a thread took up the item."""


def _ahead(
    items: Iterable[ItemT], begin_item: Callable[[ItemT], Future[ResultT]], context: RunContext
) -> Generator[tuple[ItemT, Future[ResultT]]]:
    """Yield items in order with their futures, a few of them begun ahead.

    No further item is begun once the signal to stop has come.
    """
    source, waiting = iter(items), deque[tuple[ItemT, Future[ResultT]]]()
    try:
        while True:
            room = 0 if context.stop_signal() else context.jobs + _BEGUN_AHEAD - len(waiting)
            waiting.extend((item, begin_item(item)) for item in islice(source, room))
            if not waiting:
                return
            yield waiting.popleft()
    finally:
        for _, future in waiting:
            future.cancel()


def _begin(work: Callable[[ItemT], ResultT], item: ItemT, stop_signal: Callable[[], int]) -> ResultT:
    # Here and not in the main thread, which is waiting for a result while this thread takes up the next item.
    if stop_signal():
        raise _NotBegunError
    with cores.occupied(), naming_files():
        return work(item)


def _outcome(future: Future[ResultT]) -> ResultT | BlissmaskError:
    # Python handles a signal when its main thread runs, and one that comes just before that begins to wait does not
    # wake it: it would be heard when the clip in hand is done.
    while not future.done():
        wait([future], timeout=_BETWEEN_SIGNALS)
    try:
        return future.result()
    except (MachineError, MissingPackageError, ModelError):
        raise
    except BlissmaskError as error:
        return error


class Background:
    """One thread that works through what it is given, in order. A context manager: leaving it waits for all of it.

    An error of a piece of work is raised by a later ``submit`` or on leaving; it is never lost.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="blissmask-write")
        self._waiting: deque[Future[None]] = deque()

    def submit(self, work: Callable[Arguments, None], *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        """Have ``work`` done with these arguments; wait while too much is waiting already."""
        while len(self._waiting) >= _WAITING_TO_BE_WRITTEN or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work, *args, **kwargs))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all work; raise its first error unless another error is raised already."""
        self._thread.shutdown(wait=True)
        failures = [failure for future in self._waiting if (failure := future.exception()) is not None]
        if failures and error is None:
            raise failures[0]
