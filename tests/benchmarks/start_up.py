"""How long `blissmask --help` takes, against an interpreter that does nothing: `python tests/benchmarks/start_up.py`. Promise: 0.3 s."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time

RUNS = 15


def median_seconds(*arguments: str) -> float:
    """Return the median wall time of running the interpreter with ``arguments``."""
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    bare = median_seconds("-c", "pass")
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, median of {RUNS}")
    for label, arguments in {"blissmask --help": ["--help"], "blissmask train --help": ["train", "--help"]}.items():
        seconds = median_seconds("-m", "blissmask", *arguments)
        print(f"{label:<24} {seconds:.3f} s   {seconds / bare:.1f} x the bare interpreter ({bare:.3f} s)")


if __name__ == "__main__":
    main()
