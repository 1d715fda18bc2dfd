"""How long `masks` takes with the networks that ship in the package: `python -m tests.benchmarks.masks_speed`.

Seconds of one photo in a warm process, a portrait and a group of six; the peak memory of a whole run; and how much more two workers do than one.
The portrait is `tests/photos/astronaut.png` at 1024 px, the group six of it side by side, three of them mirrored.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from blissmask.config.load import load_config
from blissmask.config.sections.mask_sections import MasksSection
from blissmask.media.image import read_image
from blissmask.parsing.parts_backend import PARSING
from blissmask.tasks.masks.plan import plan as plan_masks
from blissmask.tasks.masks.run import run as run_masks
from blissmask.tasks.run.plan import RunContext
from tests.benchmarks.report import Row, Size, machine, table
from tests.builders.pictures import Rgb, save

PHOTO = Path(__file__).parents[1] / "photos" / "astronaut.png"
ROUNDS = {Size.SMALLEST: 1, Size.QUICK: 3, Size.FULL: 9}
SIDE = {Size.SMALLEST: 256, Size.QUICK: 1024, Size.FULL: 1024}
"""Of the portrait; the goals are those of 1,024 pixels."""
PHOTOS = {Size.SMALLEST: 2, Size.QUICK: 8, Size.FULL: 32}
# Not `ru_maxrss` on Linux: there a process starts with the peak of the one that started it.
PEAK = """
import pathlib, resource, sys
from blissmask.cli.app import main
try:
    main()
except SystemExit:
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        print(next(int(line.split()[1]) / 2**10 for line in status.read_text().splitlines() if line.startswith("VmHWM")))
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def rows(size: Size) -> list[Row]:
    """Return the seconds of a portrait and of a group, the peak memory of a run, and what two workers gain."""
    side = SIDE[size]
    portrait = cv2.resize(read_image(PHOTO).rgb_HW3, (side, side), interpolation=cv2.INTER_CUBIC)
    half = cv2.resize(portrait, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    group = np.vstack([np.hstack([half, half[:, ::-1], half]), np.hstack([half[:, ::-1], half, half[:, ::-1]])])
    backend = PARSING.load("embedded").backend(MasksSection())
    backend.parse([half])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(PHOTOS[size]):
            save(folder / "photos" / f"{number:02}.png", portrait)
        one, two = (folder_seconds(folder, jobs) for jobs in (1, 2))
        peak = peak_mebibytes(folder)
    return [
        Row(f"masks, portrait of {side} px", best_seconds(backend, portrait, ROUNDS[size]), "s", goal=0.5),
        Row(f"masks, six people, {side} px", best_seconds(backend, group, ROUNDS[size]), "s", goal=1.5),
        Row("masks, peak memory of a run", peak, "MiB", goal=1024),
        Row(f"masks, two workers / one, {PHOTOS[size]} portraits", one / two, goal=1.6, more_is_better=True),
    ]


def best_seconds(backend: object, rgb_HW3: Rgb, rounds: int) -> float:
    """Return the least seconds of ``rounds``."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        backend.parse([rgb_HW3])
        times.append(time.perf_counter() - started)
    return min(times)


def folder_seconds(folder: Path, jobs: int) -> float:
    """Return the seconds of a whole run over ``folder/photos``."""
    config = load_config(
        None, {"masks": {"input": folder / "photos", "output": folder / f"masks{jobs}"}, "run": {"jobs": jobs}}
    )
    plan = plan_masks(config)
    started = time.perf_counter()
    run_masks(plan, RunContext(jobs=jobs))
    return time.perf_counter() - started


def peak_mebibytes(folder: Path) -> float:
    """Return the peak memory of the command in a process of its own, two workers at once."""
    arguments = ["masks", "--input", folder / "photos", "--output", folder / "again", "--jobs", "2", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    print(f"{machine()}\n\n{table(rows(Size.FULL))}")
