"""Share the cores: photos are worked on side by side, and a core that no photo needs helps with the parts of one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# The caller's own thread needs the one that is missing.
_spare = threading.Semaphore((os.cpu_count() or 1) - 1)


@contextmanager
def limited_to(cores: int) -> Iterator[None]:
    """Within, the whole process has ``cores`` cores for photos; each thread that works on one says so with :func:`occupied`."""
    global _spare
    outer, _spare = _spare, threading.Semaphore(cores)
    try:
        yield
    finally:
        _spare = outer


@contextmanager
def occupied() -> Iterator[None]:
    """Within, this thread works on a photo of its own, so its core is not there to help with another's."""
    spare = _spare
    # Never waits: while a helper finishes its part, one thread more than there are cores does no harm.
    taken = spare.acquire(blocking=False)
    try:
        yield
    finally:
        if taken:
            spare.release()


def side_by_side(work: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    """Return ``work(item)`` for each item, in order, with the help of the cores that are to spare now.

    Args:
        work: safe to call from several threads; what it returns must not depend on the other items.
        items: the parts of one photo.
    """
    spare, helpers = _spare, 0
    while helpers + 1 < len(items) and spare.acquire(blocking=False):
        helpers += 1
    if not helpers:
        return [work(item) for item in items]
    try:
        with ThreadPoolExecutor(helpers + 1, thread_name_prefix="blissmask-part") as pool:
            return list(pool.map(work, items))
    finally:
        spare.release(helpers)
