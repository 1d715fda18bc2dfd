"""How the memory of `cache` grows with the number of items: `python -m tests.benchmarks.cache_memory`.

Peak resident memory of whole commands, each in a process of its own, over some photos and four times as many. Encoding holds a few photos at
a time, whatever their number; the plan holds 1 KB at most for each (see `plan_memory`). Photos of 1024 px with masks, cached at 512 px with
the VAE in miniature.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.report import Row, Size, machine, table
from tests.builders.families import PLAIN
from tests.builders.pictures import random_rgb, save, tier_mask

PHOTOS = {Size.SMALLEST: (2, 32), Size.QUICK: (16, 512), Size.FULL: (64, 512)}
GOAL_GROWTH = 1.05
_FOLDERS = {"image_directory": "photos", "mask_directory": "masks", "cache_directory": "cache"}
_UNITS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10


def rows(size: Size) -> list[Row]:
    """Return the peak memory of encoding some photos, of four times as many, and the ratio of both."""
    photos, side = PHOTOS[size]
    few, many = (encoding_mib(count, side) for count in (photos, 4 * photos))
    return [
        Row(f"cache, peak memory, {photos} photos of {2 * side} px", few, "MiB"),
        Row(f"cache, peak memory, {4 * photos} photos", many, "MiB"),
        Row(f"cache, peak memory of {4 * photos} / {photos} photos", many / few, goal=GOAL_GROWTH),
    ]


def encoding_mib(photos: int, side: int) -> float:
    """Return the peak memory in MiB of a run that encodes ``photos`` photos."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(photos):
            save(folder / "photos" / f"{number:03}.png", random_rgb((2 * side, 2 * side), seed=number))
            save(folder / "masks" / f"{number:03}.png", tier_mask((2 * side, 2 * side)))
        lines = [f"[general]\nresolution = [{side}, {side}]\n[[datasets]]"]
        lines += [f'{key} = "{folder / place}"' for key, place in _FOLDERS.items()]
        (folder / "blissmask.toml").write_text("\n".join(lines), encoding="utf-8")
        return peak_mib(
            "cache", "--config", str(folder / "blissmask.toml"), "--arch", PLAIN, "--model", "tiny", "--latents-only"
        )


def peak_mib(*arguments: str) -> float:
    """Run a command of blissmask quietly in its own process; return its peak resident memory in MiB."""
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    command = [sys.executable, "-m", "blissmask", *arguments]
    process = os.posix_spawn(sys.executable, command, os.environ, file_actions=silent)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise ChildProcessError(f"{' '.join(command)} ended with status {status}")
    return usage.ru_maxrss / _UNITS_PER_MIB


if __name__ == "__main__":
    print(f"{machine()}\n\n{table(rows(Size.FULL))}")
