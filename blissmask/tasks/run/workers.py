"""Work on items in threads: bounded, in order, one failure costs one item."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from blissmask.errors import BlissmaskError, MachineError, MissingPackageError, ModelError, StoppedError
from blissmask.events import Advanced, PhaseFinished, PhaseStarted
from blissmask.tasks.run.plan import RunContext
from blissmask.vision import cores

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


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
        work: called in threads; a BlissmaskError it raises becomes that item's result, unless going on would fail every
            item.
        phase, total, name: for progress.

    Raises:
        MachineError, MissingPackageError, ModelError: the machine failed (disk full), a package is missing, or the
            weights cannot be used.
        StoppedError: a signal asked to stop; the items in hand were finished and yielded first, no other was begun.
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
    items: Iterable[ItemT], begin: Callable[[ItemT], Future[ResultT]], context: RunContext
) -> Generator[tuple[ItemT, Future[ResultT]]]:
    """Yield items in order with their results to be, a few of them begun ahead; none any more once the signal to stop has come."""
    source, waiting = iter(items), deque[tuple[ItemT, Future[ResultT]]]()
    try:
        while True:
            room = 0 if context.stop_signal() else context.jobs + 2 - len(waiting)
            waiting.extend((item, begin(item)) for item in islice(source, room))
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
    with cores.occupied():
        return work(item)


def _outcome(future: Future[ResultT]) -> ResultT | BlissmaskError:
    try:
        return future.result()
    except (MachineError, MissingPackageError, ModelError):
        raise
    except BlissmaskError as error:
        return error
