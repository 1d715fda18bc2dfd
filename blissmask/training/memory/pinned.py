"""Page-locked memory of exactly the size that is asked for, from which a GPU copies beside its computation.

``Tensor.pin_memory`` takes the next power of two: 1.07 GB for the 0.70 GB of a block of a 14B model.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blissmask.errors import MachineError

_PAGE = 4096
_EVERY_GPU = 1
"""``cudaHostRegisterPortable``."""


def flat_buffer(size: int) -> Tensor:
    """Return at least ``size`` bytes of ordinary memory on pages of their own, as uint8 of whole pages."""
    whole = -(-size // _PAGE) * _PAGE
    room = torch.empty(whole + _PAGE, dtype=torch.uint8)
    start = -room.data_ptr() % _PAGE
    return room[start : start + whole]


@dataclass(slots=True, weakref_slot=True)
class LockedMemory:
    """Buffers that are page-locked as long as this lives; they are kept at least as long."""

    _buffers: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Unlock when nobody holds it any more; at the end of the process the driver does."""
        weakref.finalize(self, _unlock, self._buffers).atexit = False

    def add(self, buffer: Tensor) -> None:
        """Lock ``buffer``, from :func:`flat_buffer`.

        Raises MachineError when the system does not let this process lock so much.
        """
        code = int(_runtime().cudaHostRegister(buffer.data_ptr(), buffer.nbytes, _EVERY_GPU))
        if code:
            locked = sum(other.nbytes for other in self._buffers)
            raise MachineError(
                f"cannot page-lock {buffer.nbytes / 2**30:.1f} GiB of memory beside {locked / 2**30:.1f} GiB (CUDA error {code})",
                fix="lower `blocks_to_swap`, or let this user lock more memory (`ulimit -l`)",
            )
        self._buffers.append(buffer)


def _unlock(buffers: list[Tensor]) -> None:
    if buffers:
        # No copy may be under way.
        torch.cuda.synchronize()
    for buffer in buffers:
        _runtime().cudaHostUnregister(buffer.data_ptr())


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
