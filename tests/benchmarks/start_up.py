"""How long `blissmask --help` takes, against the imports that it cannot do without.

`python -m tests.benchmarks.start_up` prints it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.benchmarks.report import Row, Size, machine, table

RUNS = {Size.SMALLEST: 1, Size.QUICK: 7, Size.FULL: 15}
GOAL_SECONDS = 0.3
BARE_IMPORTS = "import typer, typer.core, typer.main, typer.rich_utils"
"""What any command line of Typer with Rich's help imports."""
GOAL_RATIO = 1.6
"""Of the help to its bare imports: 1.47 where the goal was set, 2.7 in a help that reads the whole configuration."""


def rows(size: Size) -> list[Row]:
    """Return the median seconds of the two help screens, and of the imports that the first one cannot do without."""
    runs = RUNS[size]
    bare = median_seconds(runs, "-c", BARE_IMPORTS)
    screen = median_seconds(runs, "-m", "blissmask", "--help")
    return [
        Row("an interpreter that imports Typer and Rich", bare, "s"),
        Row("blissmask --help", screen, "s", goal=GOAL_SECONDS),
        Row("blissmask --help / bare imports", screen / bare, goal=GOAL_RATIO),
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
