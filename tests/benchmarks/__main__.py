"""Run the benchmarks and print one table: `python -m tests.benchmarks [--full] [--only NAME ...]`.

Quick by default: a few minutes on two cores. ``--full`` takes the sizes that the goals are about. Other programs on the machine disturb every
time; ratios are measured within one run and suffer less. The exit code is 1 when a goal was missed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

from tests.benchmarks.report import Row, Size, machine, table

NAMES = (
    "start_up",
    "train_start",
    "train_step",
    "masks_speed",
    "masks_precision",
    "backend_overlap",
    "cache_rerun",
    "cache_encode",
    "cache_memory",
    "plan_memory",
)


def measure(names: Sequence[str], size: Size) -> list[Row]:
    """Run benchmarks one after the other; says on stderr which one is running."""
    rows: list[Row] = []
    for name in names:
        started = time.perf_counter()
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"tests.benchmarks.{name}").rows(size)
        print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return rows


def main() -> int:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument(
        "--full",
        action="store_const",
        const=Size.FULL,
        default=Size.QUICK,
        dest="size",
        help="the sizes the goals are about",
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    options = parser.parse_args()
    rows = measure(options.only, options.size)
    print(f"{machine()}; {options.size} sizes\n\n{table(rows)}")
    return int(any(row.reached is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
