"""How well decoding, inference and writing overlap: the share of time in which the network of `masks` has nothing to do.

    python -m tests.benchmarks.backend_overlap [--backend NAME --model FILE] [--photos 32] [--size 1536x2048] [--jobs 1 2 4] [--batch-size 1]

Runs the whole `masks` task over photos in a fresh folder for every number of jobs. With ``--backend`` and ``--model`` it is your network on your
device. Without, it is Sapiens in miniature that takes ``--network-seconds`` per picture and leaves the processor alone meanwhile, as a network on
a GPU does. Time counts from the network's first picture to its last; the photo that loads it is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from blissmask.config.load import load_config
from blissmask.networks.batching import BatchedNetwork, Network
from blissmask.networks.preprocessing import prepare
from blissmask.tasks.masks.plan import plan as plan_masks
from blissmask.tasks.masks.run import run as run_masks
from blissmask.tasks.run.plan import RunContext
from tests.benchmarks.report import Row, Size, machine
from tests.builders import backend_models as models
from tests.builders.pictures import random_rgb, save

PHOTOS = {Size.SMALLEST: 3, Size.QUICK: 12, Size.FULL: 32}
SIZE_WH = (768, 1024)
NETWORK_SECONDS = 0.4
"""Per picture; more than one core needs to decode, prepare, finish and write a photo of ``SIZE_WH``, so that two jobs can hide all of that."""

GOAL_WAITING_PERCENT = 10.0


@dataclass(frozen=True, slots=True)
class Overlap:
    """What one run came to.

    Attributes:
        photos: how many.
        seconds: from the network's first picture to its last.
        network_seconds: of these, inside the network.
    """

    photos: int
    seconds: float
    network_seconds: float

    @property
    def waiting(self) -> float:
        """Share of the time in which the network has nothing to do, 0..1."""
        return 1 - self.network_seconds / self.seconds


class Timed:
    """Wraps a network, makes it slower, and adds up the seconds spent in it, including what a GPU does in the background."""

    def __init__(self, network: Network[torch.Tensor], extra_seconds: float) -> None:
        self._network, self._extra_seconds = network, extra_seconds
        self.seconds, self.first, self.last = 0.0, float("inf"), 0.0

    def __call__(self, pixels_B3hw: np.ndarray) -> Sequence[torch.Tensor]:
        started = time.perf_counter()
        results = self._network(pixels_B3hw)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        time.sleep(self._extra_seconds * len(pixels_B3hw))
        self.first, self.last = min(self.first, started), time.perf_counter()
        self.seconds += self.last - started
        return results


def rows(size: Size) -> list[Row]:
    """Return how long a slow network waits with one and with two jobs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = models.sapiens_file(folder)
        make_photos(folder / "photos", PHOTOS[size], SIZE_WH)
        one, two = (measured(folder, "sapiens", model, jobs=jobs, extra_seconds=NETWORK_SECONDS) for jobs in (1, 2))
    return [
        Row("masks, a slow network waits, one job", 100 * one.waiting, "%"),
        Row("masks, a slow network waits, two jobs", 100 * two.waiting, "%", goal=GOAL_WAITING_PERCENT),
    ]


def make_photos(folder: Path, count: int, size_wh: tuple[int, int]) -> None:
    """Write soft noise, which takes as long to decode and to parse as a photo; hard noise would take longer."""
    for number in range(count):
        rgb = cv2.resize(random_rgb((24, 32), seed=number), size_wh, interpolation=cv2.INTER_CUBIC)
        save(folder / f"{number:04}.jpg", rgb)


def measured(
    folder: Path, backend_name: str, model: Path | str, *, jobs: int, batch_size: int = 1, extra_seconds: float = 0.0
) -> Overlap:
    """Run `masks` over ``folder/photos`` and return how long its network was busy."""
    masks = {
        "input": folder / "photos",
        "output": folder / f"masks{jobs}",
        "backend": backend_name,
        "model": str(model),
    }
    plan = plan_masks(load_config(None, {"masks": {**masks, "batch_size": batch_size}, "run": {"jobs": jobs}}))
    backend = plan.maker._backend
    network = backend._network._load()
    network(prepare(random_rgb(), backend._preprocessing).pixels_3hw[None])
    timed = Timed(network, extra_seconds)
    backend._network = BatchedNetwork(lambda: timed, batch_size=batch_size)
    run_masks(plan, RunContext(jobs=jobs))
    return Overlap(len(plan.items), timed.last - timed.first, timed.seconds)


def main() -> None:
    """Print one line per number of jobs."""
    options = arguments()
    own = options.model is not None
    print(machine())
    print(f"{options.backend}, {options.photos} photos of {options.size}, batch size {options.batch_size}", end="")
    print("\n" if own else f", the network takes {options.network_seconds} s per picture\n")
    print("jobs  seconds  photos/s  in network  waiting")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder / "photos", options.photos, tuple(int(side) for side in options.size.split("x")))
        model = options.model or models.sapiens_file(folder)
        for jobs in options.jobs:
            extra = 0.0 if own else options.network_seconds
            run = measured(
                folder, options.backend, model, jobs=jobs, batch_size=options.batch_size, extra_seconds=extra
            )
            rate = run.photos / run.seconds
            print(
                f"{jobs:>4}  {run.seconds:>7.2f}  {rate:>8.2f}  {run.network_seconds:>10.2f}  {run.waiting:>7.0%}",
                flush=True,
            )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.backend_overlap")
    parser.add_argument("--backend", default="sapiens")
    parser.add_argument("--model", help="weights of your own; without, a miniature that takes --network-seconds")
    parser.add_argument("--network-seconds", type=float, default=NETWORK_SECONDS)
    parser.add_argument("--photos", type=int, default=PHOTOS[Size.FULL])
    parser.add_argument("--size", default="1536x2048")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch-size", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
