"""What only a GPU can say, in eight minutes: `bash tests/gpu/run.sh [--rehearse] [--only PART ...] [--musubi FOLDER] [--json FILE]`.

Models have random weights and the sizes of the released ones; nothing is downloaded. Each part has a budget of seconds, and what it spends more is
skipped and said to be. ``--rehearse`` does the same on the CPU with miniatures: it shows that every measurement runs, and measures nothing.
The exit code is 1 when a test failed or a measurement broke.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tests.benchmarks.report import machine
from tests.gpu import musubi, parts, steps
from tests.gpu.figures import Figure, Place, table


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the run: its name, its share of the eight minutes, and what gives its figures one by one."""

    name: str
    budget_seconds: float
    figures: Callable[[Place], Iterator[Figure]]


PARTS = (
    Part("tests", 90, parts.tests_on_the_card),
    Part("small", 140, steps.small_model),
    Part("musubi", 30, musubi.step_beside),
    Part("large", 120, steps.large_model),
    Part("encode", 25, parts.encoding),
    Part("masks", 40, parts.masks),
    Part("processes", 15, parts.one_process),
)


def measure(names: list[str], place: Place, written: Path) -> list[Figure]:
    """Run the parts; the file is written anew after each figure, so that nothing is lost when a run is ended."""
    figures: list[Figure] = []
    for part in PARTS:
        if part.name not in names:
            continue
        started = time.perf_counter()
        for figure in part.figures(place.until(started + part.budget_seconds)):
            figures.append(figure)
            document = {"machine": machine(), "rehearsal": place.rehearses, "figures": [asdict(one) for one in figures]}
            written.write_text(f"{json.dumps(document, indent=2)}\n", encoding="utf-8")
        print(f"{part.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return figures


def main() -> int:
    """Read the command line, run, print."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        prog="bash tests/gpu/run.sh", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with miniatures")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    parser.add_argument(
        "--json", type=Path, default=Path("gpu-results.json"), metavar="FILE", help="default: gpu-results.json"
    )
    parser.add_argument(
        "--musubi",
        type=Path,
        metavar="FOLDER",
        help="a copy of musubi-tuner's source, whose step is measured beside ours",
    )
    options = parser.parse_args()
    if not options.rehearse and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU; try it with --rehearse")
    with tempfile.TemporaryDirectory() as scratch:
        device = torch.device("cpu" if options.rehearse else "cuda")
        place = Place(Path(scratch), device, deadline=float("inf"), musubi=options.musubi)
        figures = measure(options.only, place, options.json)
    print(f"{machine()}{'; a rehearsal: no figure means anything' if options.rehearse else ''}\n\n{table(figures)}")
    return int(any(figure.failed for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
