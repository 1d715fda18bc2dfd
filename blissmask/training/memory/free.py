"""How much CPU memory is free, to the machine and to the container that this process runs in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

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
