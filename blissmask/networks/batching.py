"""Run one network for many threads: the thread that runs it takes the waiting pictures of all threads as one batch.

The tasks process several photos at once. Each thread decodes and prepares its own photo and finishes its own result.
Only the network itself is run by one thread at a time, so that a GPU does not wait for a decoder or an encoder.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import MachineError

Result = TypeVar("Result")
Network = Callable[[NDArray[np.float32]], Sequence[Result]]
"""Takes pixels_B3hw, returns one result per picture."""


@dataclass(slots=True, eq=False)
class _Request(Generic[Result]):
    pixels_3hw: NDArray[np.float32]
    results: list[Result]
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return bool(self.results) or self.error is not None


class BatchedNetwork(Generic[Result]):
    """A network that is loaded at the first picture and then run in batches.

    A network that cannot be loaded raises the same error for every later picture and is not tried again.

    Args:
        load: builds the network; called once.
        batch_size: pictures of one size that go through together, >= 1.
    """

    def __init__(self, load: Callable[[], Network[Result]], *, batch_size: int) -> None:
        self._load, self._batch_size = load, batch_size
        self._network: Network[Result] | None = None
        self._unloadable: Exception | None = None
        self._waiting: deque[_Request[Result]] = deque()
        self._turn = threading.Lock()

    def run(self, pixels: Sequence[NDArray[np.float32]]) -> list[Result]:
        """Return one result per picture; safe to call from several threads.

        Args:
            pixels: prepared pictures, each float32 (3, h, w), of any sizes.

        Raises:
            MachineError: out of memory.
            ModelError: the network cannot be loaded.
        """
        requests = [_Request[Result](pixels_3hw, []) for pixels_3hw in pixels]
        self._waiting.extend(requests)
        for request in requests:
            while not request.done:
                with self._turn:
                    if not request.done:
                        self._carry_out(self._next_batch())
            if request.error is not None:
                raise request.error
        return [request.results[0] for request in requests]

    def _next_batch(self) -> list[_Request[Result]]:
        """Take the longest waiting picture and others of its size, in order. The caller holds ``_turn``."""
        first = self._waiting.popleft()
        batch = [first]
        others: list[_Request[Result]] = []
        while self._waiting and len(batch) < self._batch_size:
            request = self._waiting.popleft()
            fits = request.pixels_3hw.shape == first.pixels_3hw.shape
            (batch if fits else others).append(request)
        self._waiting.extendleft(reversed(others))
        return batch

    def _carry_out(self, batch: list[_Request[Result]]) -> None:
        try:
            results = self._loaded()(np.stack([request.pixels_3hw for request in batch]))
        except BaseException as error:
            # Every request of the batch gets the error; the threads of the others would wait for ever otherwise.
            for request in batch:
                request.error = _readable(error)
            if not isinstance(error, Exception):
                raise
        else:
            for request, result in zip(batch, results, strict=True):
                request.results.append(result)

    def _loaded(self) -> Network[Result]:
        if self._unloadable is not None:
            raise self._unloadable
        if self._network is None:
            try:
                self._network = self._load()
            except Exception as error:
                self._unloadable = error
                raise
        return self._network


def _readable(error: BaseException) -> BaseException:
    """Return a MachineError for any kind of memory error, and other errors as they are."""
    # torch.OutOfMemoryError goes by its name, since this module does not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        readable = MachineError(
            "not enough memory for the network", fix="lower `--batch-size` or `--precision`, or use `--device cpu`"
        )
        readable.__cause__ = error
        return readable
    return error
