"""Do work behind the main thread's back: in order, a few steps ahead at most, errors brought back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self

Arguments = ParamSpec("Arguments")

_AHEAD = 4
"""Pieces of work that may wait; beyond it the caller waits, so memory stays bounded when the disk is slower than the encoder."""


class Background:
    """One thread that works through what it is given. A context manager: leaving it waits for all of it.

    An error of a piece of work is raised by a later ``submit`` or on leaving, never lost.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="blissmask-write")
        self._waiting: deque[Future[None]] = deque()

    def submit(self, work: Callable[Arguments, None], *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        """Have ``work`` done with these arguments; waits while too much is waiting already."""
        while len(self._waiting) >= _AHEAD or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work, *args, **kwargs))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all work; raise its first error unless another error is on its way already."""
        self._thread.shutdown(wait=True)
        failures = [failure for future in self._waiting if (failure := future.exception()) is not None]
        if failures and error is None:
            raise failures[0]
