"""Share the cores among photos: a core that has no photo of its own helps with the parts of another photo."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# One core less than the machine has: the caller's own thread runs on it.
_spare = threading.Semaphore((os.cpu_count() or 1) - 1)


@contextmanager
def limited_to(cores: int) -> Iterator[None]:
    """Give the whole process ``cores`` cores for photos; a thread that processes a photo enters :func:`occupied`."""
    global _spare
    outer, _spare = _spare, threading.Semaphore(cores)
    try:
        yield
    finally:
        _spare = outer


@contextmanager
def occupied() -> Iterator[None]:
    """Take one core for the photo that this thread processes, so that the core does not help with other photos."""
    spare = _spare
    # Does not wait for a free core: one thread too many, until a helper finishes its part, does no harm.
    taken = spare.acquire(blocking=False)
    try:
        yield
    finally:
        if taken:
            spare.release()


def side_by_side(work: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    """Return ``work(item)`` for each item, in order, on this thread and on the cores that are free now.

    Args:
        work: safe to call from several threads; its result must not depend on the other items.
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
