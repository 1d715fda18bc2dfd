"""How much memory this process may still take, and how many workers that is enough for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from blissmask.give_back import can_give_back
from blissmask.processes import this_process

BYTES_PER_PIXEL = 8
"""Memory that a worker needs for each pixel of the photo in its hands.

Measured at 48 megapixels, see ``tests/benchmarks/memory.py``: a further worker of `masks` and of `instance` adds 294
and 291 MB, means of three, one of `to-alpha` 178 MB (313 MB where the photo is turned by EXIF), and one of `cache` 160
MB. Two that decode a photo at the same moment take 350 MB each: Pillow's picture has 4 bytes a pixel, and ours 3.
"""
_BYTES_PER_PIXEL_KEPT = 11
"""The same where nothing can be given back, see :func:`give_back.can_give_back`.

Measured before anything was given back: `instance` and `masks` added 524 and 509 MB.
"""

_SHARE = 0.8
"""Share of the free memory that workers may take: the rest is for networks, results that wait, and other programs."""

_GROUPS = Path("/sys/fs/cgroup")
_NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of a control group, versions 2 and 1: the limit, the use, and the key for copies of files in ``memory.stat``.

The kernel drops such copies when a process needs memory, so they count as free.
"""
_UNKNOWN = 8 << 30
"""For macOS, where neither source exists: most LoRA data sets fit into it, and most machines have it."""


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


def workers(cores: int, largest_pixels: int) -> int:
    """Return how many photos this process works on at the same time; see :func:`workers_for`."""
    return workers_for(cores, largest_pixels, free_cpu_memory() // this_process().local_count)


def workers_for(cores: int, largest_pixels: int, free_bytes: int) -> int:
    """Return how many photos to work on at the same time: one for each core, as far as their memory is there.

    Args:
        cores: cores that this process may use.
        largest_pixels: pixels of the largest photo; 0 where there is none.
        free_bytes: what :func:`free_cpu_memory` returns.
    """
    if not largest_pixels:
        return cores
    for_each_pixel = BYTES_PER_PIXEL if can_give_back() else _BYTES_PER_PIXEL_KEPT
    return max(1, min(cores, int(free_bytes * _SHARE) // (largest_pixels * for_each_pixel)))
