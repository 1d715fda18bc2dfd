"""Buffers in the machine's own memory that a GPU can copy from while it computes.

Only from page-locked memory a GPU copies while it computes.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blissmask.errors import MachineError

_PAGE = 4096
"""Bytes of a page of memory on x86 and most ARM machines; CUDA locks whole pages."""
_EVERY_GPU = 1
"""``cudaHostRegisterPortable`` of CUDA's runtime: the memory is locked for every GPU of the process."""


def flat_buffer(size: int) -> Tensor:
    """Return a buffer (uint8) of at least ``size`` bytes of ordinary memory, in whole pages that nothing else shares.

    ``Tensor.pin_memory`` would take the next power of two: 1.07 GB for the 0.70 GB of a block of a 14B model.
    """
    whole = math.ceil(size / _PAGE) * _PAGE
    room = torch.empty(whole + _PAGE, dtype=torch.uint8)
    start = -room.data_ptr() % _PAGE
    return room[start : start + whole]


@dataclass(slots=True, weakref_slot=True)
class LockedMemory:
    """Page-locked buffers; they stay locked, and are kept, as long as this object lives."""

    _buffers: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Unlock the buffers when this object is let go; at the end of the process the driver does it."""
        weakref.finalize(self, _unlock, self._buffers).atexit = False

    def add(self, buffer: Tensor) -> None:
        """Lock a buffer from :func:`flat_buffer`.

        Raises MachineError when the system does not let this process lock so much.
        """
        code = int(_runtime().cudaHostRegister(buffer.data_ptr(), buffer.nbytes, _EVERY_GPU))
        if code:
            wanted = buffer.nbytes / 2**30
            locked = sum(other.nbytes for other in self._buffers) / 2**30
            raise MachineError(
                f"cannot page-lock {wanted:.1f} GiB of memory beside {locked:.1f} GiB (CUDA error {code})",
                fix="lower `blocks_to_swap`, or let this user lock more memory (`ulimit -l`)",
            )
        self._buffers.append(buffer)


def _unlock(buffers: list[Tensor]) -> None:
    if buffers:
        # No copy from these buffers may be under way.
        torch.cuda.synchronize()
    for buffer in buffers:
        _runtime().cudaHostUnregister(buffer.data_ptr())


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
