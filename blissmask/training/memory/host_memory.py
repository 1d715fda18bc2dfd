"""The machine's own memory: how much of it is free, and buffers that a GPU can copy from while it computes."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blissmask.errors import MachineError

# How much memory is free

_GROUPS = Path("/sys/fs/cgroup")
_NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of a control group, versions 2 and 1: the limit, the use, and the key for copies of files in ``memory.stat``.

The kernel drops such copies when a process needs memory, so they count as free.
"""
_UNKNOWN = 8 << 30
"""For Windows and macOS, where neither source exists: most LoRA data sets fit into it, and most machines have it."""


def free_cpu_memory() -> int:
    """Return how many bytes of memory this process may still take.

    That is what the machine has free, or less where the process runs in a container with a limit.
    """
    free = _free_of_machine()
    room = room_in_groups(_own_groups())
    return free if room is None else min(free, room)


def room_in_groups(folders: Iterable[Path]) -> int | None:
    """Return the bytes left below the tightest memory limit of these control groups; None where none has a limit.

    Copies of files count as free, as in ``MemAvailable``.
    """
    rooms = []
    for folder in folders:
        for limit, used, cached in _NAMES:
            try:
                most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
                facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):
                # There is no such group, or its limit is the word `max`.
                continue
            rooms.append(max(0, most - taken + int(facts.get(cached, 0))))
    return min(rooms, default=None)


def _own_groups() -> list[Path]:
    """Return the folders of this process's control groups and their parents; a container may not show all of them."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, kinds, own = line.split(":", 2)
        if kinds in ("", "memory"):
            top = _GROUPS / kinds
            folder = top / own.lstrip("/")
            folders += [folder, *(parent for parent in folder.parents if parent.is_relative_to(top))]
    return folders


def _free_of_machine() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _UNKNOWN


# Page-locked memory: only from such memory a GPU copies while it computes

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
