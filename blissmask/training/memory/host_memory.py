"""The machine's own memory: how much of it is free, and buffers that a GPU can copy from while it computes."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blissmask.errors import MachineError

_GROUPS = Path("/sys/fs/cgroup")
_NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use, and what of it are copies of files that give way, in control groups of version 2 and 1."""
_UNKNOWN = 8 << 30
"""For Windows and macOS, which tell neither: a value that most LoRA data sets fit and most machines have."""


def free_cpu_memory() -> int:
    """Return how many bytes of memory this process may still take: what the machine has free, or less where its container has a limit."""
    free = _free_of_machine()
    room = room_in_groups(_own_groups())
    return free if room is None else min(free, room)


def room_in_groups(folders: Iterable[Path]) -> int | None:
    """Return what is left below the tightest memory limit of these control groups; None where none has a limit.

    Files that the kernel keeps copies of count as free, as in ``MemAvailable``.
    """
    rooms = []
    for folder in folders:
        for limit, used, cached in _NAMES:
            try:
                most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
                facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):
                # No such group, or `max`: no limit.
                continue
            rooms.append(max(0, most - taken + int(facts.get(cached, 0))))
    return min(rooms, default=None)


def _own_groups() -> list[Path]:
    """Return the folders of the control groups that this process is in, and of those around them; some may not be visible from here."""
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
