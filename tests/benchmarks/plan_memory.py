"""How much memory a plan holds for each item: `python -m tests.benchmarks.plan_memory [ITEMS ...]`.

Plans each command over some items and over four times as many, and counts what Python allocated for the plan and still holds (``tracemalloc``); the difference divided by the difference of the items is what one more item costs. Photos of 64 px with masks and
captions whose names are as long as a phone's; nothing was made yet, so that every item is to be written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.report import Row, Size, machine, table
from tests.benchmarks.train_start import write_cache
from tests.builders.families import PLAIN
from tests.builders.pictures import random_rgb, save

ITEMS = {Size.SMALLEST: 10, Size.QUICK: 500, Size.FULL: 5000}
GOAL_BYTES = 1000
"""Bytes an item: a data set of a million items is planned in 1 GB."""
COMMANDS = ("masks", "instance", "apply", "to_alpha", "cache", "train")

_HELD = """
import gc, importlib, sys, tracemalloc
from pathlib import Path
from blissmask.config.model import Config

folder, arch, lines, commands = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
photos, masks, subject = folder / "photos", folder / "masks", folder / "subject"
sections = {
    "masks": {"masks": {"input": photos, "output": folder / "new"}},
    "instance": {"instance": {"input": photos, "output": folder / "new", "reference": [folder / "subject.png"]}},
    "apply": {"apply": {"weighted_masks": masks, "instance_masks": subject, "output": folder / "new"}},
    "to_alpha": {"to_alpha": {"image_directory": photos, "mask_directory": masks, "output_directory": folder / "new"}},
    "cache": {"datasets": [{"image_directory": photos, "mask_directory": masks, "cache_directory": folder / "new"}]},
    "train": {"datasets": [{"cache_directory": folder / "cache"}], "mask_loss": {"use_mask_loss": True},
              "saving": {"output_dir": folder / "new"}},
}
for command in commands:
    config = Config.model_validate({**sections[command], "model": {"arch": arch, "model": "tiny", "device": "cpu"},
                                    "general": {"resolution": [64, 64]}})
    plan = importlib.import_module(f"blissmask.tasks.{command}.plan").plan
    # The first plan imports what it needs.
    plan(config)
    gc.collect()
    tracemalloc.start()
    held = plan(config)
    gc.collect()
    print(*tracemalloc.get_traced_memory())
    for line in tracemalloc.take_snapshot().statistics("lineno")[:lines]:
        print(line, file=sys.stderr)
    del held
    tracemalloc.stop()
"""


def rows(size: Size) -> list[Row]:
    """Return the bytes that each command's plan holds for one more item, and the most that it takes meanwhile."""
    return plan_rows(ITEMS[size])


def plan_rows(count: int) -> list[Row]:
    """Return the rows for ``count`` items and four times as many."""
    result = []
    with tempfile.TemporaryDirectory() as name:
        few, many = (write_items(Path(name) / str(items), items) for items in (count, 4 * count))
        for command, *both in zip(COMMANDS, held(few), held(many), strict=True):
            (held_by_few, most_of_few), (held_by_many, most_of_many) = both
            title = command.replace("_", "-")
            plan, most = (held_by_many - held_by_few) / (3 * count), (most_of_many - most_of_few) / (3 * count)
            result.append(
                Row(f"{title}, the plan's memory for one item of {4 * count}", plan, "bytes", goal=GOAL_BYTES)
            )
            result.append(Row(f"{title}, the most while it plans", most, "bytes"))
    return result


def write_items(folder: Path, count: int) -> Path:
    """Write photos, masks and captions, and a cache of as many entries; return ``folder``."""
    save(folder / "subject.png", random_rgb((64, 64)))
    # A face that fills the picture: small ones are told of, each in a line of its own.
    large_face_HW = np.pad(np.full((56, 56), 255, np.uint8), 4)
    save(folder / "mask.png", large_face_HW)
    for number in range(count):
        name = f"IMG_20260131_{number:07}"
        # Blocks of 16 pixels: no two photos are alike, and a file has 400 bytes.
        save(folder / "photos" / f"{name}.png", random_rgb((4, 4), seed=number).repeat(16, axis=0).repeat(16, axis=1))
        (folder / "photos" / f"{name}.txt").write_text(f"photo {number} of kyla in a garden, smiling", encoding="utf-8")
        for masks in ("masks", "subject"):
            (folder / masks).mkdir(exist_ok=True)
            shutil.copy(folder / "mask.png", folder / masks / f"{name}.png")
    write_cache(folder / "cache", count, side=4)
    return folder


def held(folder: Path, lines: int = 0) -> list[tuple[int, int]]:
    """Return the bytes that the plan of each command holds, and the most that were held at once.

    Shows the ``lines`` of code that hold most.
    """
    arguments = [sys.executable, "-c", _HELD, str(folder), PLAIN, str(lines), *COMMANDS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return [(int(now), int(most)) for now, most in map(str.split, done.stdout.splitlines())]


if __name__ == "__main__":
    print(f"{machine()}\n\n{table(plan_rows(int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS[Size.FULL]))}")
