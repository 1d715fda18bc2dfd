"""Work on items in threads: bounded, in order, one failure costs one item."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from blissmask.errors import BlissmaskError, MachineError, MissingPackageError, ModelError, StoppedError
from blissmask.events import Advanced, PhaseFinished, PhaseStarted
from blissmask.tasks.plan import RunContext
from blissmask.vision import cores

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def work_through(
    items: Iterable[ItemT], work: Callable[[ItemT], ResultT], context: RunContext, *, phase: str, total: int, name: Callable[[ItemT], str]
) -> Iterator[tuple[ItemT, ResultT | BlissmaskError]]:
    """Yield (item, result or error) for each item, in order, while ``context.jobs`` threads work ahead by a few items.

    Only a few results wait at any time, so memory does not grow with the number of items.

    Args:
        items: read lazily.
        work: called in threads; a BlissmaskError it raises becomes that item's result, unless going on would fail every item.
        phase, total, name: for progress.

    Raises:
        MachineError, MissingPackageError, ModelError: the machine failed (disk full), a package is missing, or the weights cannot be used.
        StoppedError: a signal asked to stop; the items already begun were yielded first.
    """
    context.reporter.emit(PhaseStarted(phase, total))
    source = iter(items)
    waiting: deque[tuple[ItemT, Future[ResultT]]] = deque()
    stopped = 0
    with cores.limited_to(context.jobs), ThreadPoolExecutor(context.jobs, thread_name_prefix="blissmask") as pool:
        try:
            while True:
                stopped = stopped or context.stop_signal()
                room = 0 if stopped else context.jobs + 2 - len(waiting)
                waiting.extend((item, pool.submit(_occupied, work, item)) for item in islice(source, room))
                if not waiting:
                    break
                item, future = waiting.popleft()
                context.reporter.emit(Advanced(0, name(item)))
                outcome = _outcome(future)
                yield item, outcome
                context.reporter.emit(Advanced(1, name(item)))
                if context.fail_fast and isinstance(outcome, BlissmaskError):
                    raise outcome
        finally:
            for _, future in waiting:
                future.cancel()
    context.reporter.emit(PhaseFinished(phase))
    if stopped:
        raise StoppedError("stopped; finished items are kept", signal_number=stopped, fix="run the same command again to continue")


def _occupied(work: Callable[[ItemT], ResultT], item: ItemT) -> ResultT:
    with cores.occupied():
        return work(item)


def _outcome(future: Future[ResultT]) -> ResultT | BlissmaskError:
    try:
        return future.result()
    except (MachineError, MissingPackageError, ModelError):
        raise
    except BlissmaskError as error:
        return error
