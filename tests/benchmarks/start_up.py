"""How long `blissmask --help` takes, against an interpreter that does nothing: `python -m tests.benchmarks.start_up`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.benchmarks.report import Row, Size, machine, table

RUNS = {Size.SMALLEST: 1, Size.QUICK: 7, Size.FULL: 15}
GOAL_SECONDS = 0.3


def rows(size: Size) -> list[Row]:
    """Return the median seconds of the two help screens and of an interpreter that does nothing."""
    runs = RUNS[size]
    return [
        Row("an interpreter that does nothing", median_seconds(runs, "-c", "pass"), "s"),
        Row("blissmask --help", median_seconds(runs, "-m", "blissmask", "--help"), "s", goal=GOAL_SECONDS),
        Row("blissmask train --help", median_seconds(runs, "-m", "blissmask", "train", "--help"), "s"),
    ]


def median_seconds(runs: int, *arguments: str) -> float:
    """Return the median wall time of running the interpreter with ``arguments``."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    print(f"{machine()}\n\n{table(rows(Size.FULL))}")
