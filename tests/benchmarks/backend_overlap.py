"""How well decoding, inference and writing overlap: the share of time in which the network of `masks` waits for a picture.

    python tests/benchmarks/backend_overlap.py [--backend sapiens --model FILE] [--photos 32] [--size 1536x2048] [--jobs 1 4 8] [--batch-size 1]

Makes noise photos and runs the whole `masks` task over them in a fresh folder for every number of jobs. Without a model, Sapiens in miniature,
whose network is so small that it mostly waits. Prints seconds, photos per second, seconds inside the network, and the share of waiting. The
first photo, which loads the network, is left out.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from blissmask.config.load import load_config
from blissmask.networks.batching import BatchedNetwork
from blissmask.tasks.masks import make_masks
from blissmask.tasks.plan import RunContext
from tests import backend_models as models
from tests.builders import photo_folder, random_rgb


class Timed:
    """Wraps a network and adds up the seconds spent in it, including what a GPU does in the background."""

    def __init__(self, network) -> None:
        self.network, self.seconds = network, 0.0

    def __call__(self, pixels_B3hw):
        started = time.perf_counter()
        results = self.network(pixels_B3hw)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - started
        return results


def main() -> None:
    """Print one line per number of jobs."""
    options = arguments()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.processor()}, {torch.get_num_threads()} threads"
    print(f"{options.backend}, {options.photos} photos of {options.size}, batch size {options.batch_size}, {device}")
    print("jobs  seconds  photos/s  in network  waiting")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or models.sapiens_file(folder)
        size_wh = tuple(int(side) for side in options.size.split("x"))
        photo_folder(folder / "photos", [f"{number:04}.jpg" for number in range(options.photos)], size_wh=size_wh)
        for jobs in options.jobs:
            seconds, busy = measured(folder, str(model), options, jobs)
            print(f"{jobs:>4}  {seconds:>7.2f}  {options.photos / seconds:>8.2f}  {busy:>10.2f}  {1 - busy / seconds:>7.0%}")


def measured(folder: Path, model: str, options: argparse.Namespace, jobs: int) -> tuple[float, float]:
    """Return the seconds of a run and those inside the network."""
    masks = {"input": folder / "photos", "output": folder / f"masks{jobs}", "backend": options.backend, "model": model}
    config = load_config(None, {"masks": {**masks, "batch_size": options.batch_size}, "run": {"jobs": jobs}})
    plan = make_masks.plan(config)
    backend = plan.maker._backend
    timed = Timed(backend._network._load())
    backend._network = BatchedNetwork(lambda: timed, batch_size=options.batch_size)
    backend.parse([np.asarray(random_rgb())])
    timed.seconds = 0.0
    started = time.perf_counter()
    make_masks.run(plan, RunContext(jobs=jobs))
    return time.perf_counter() - started, timed.seconds


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="sapiens")
    parser.add_argument("--model")
    parser.add_argument("--photos", type=int, default=32)
    parser.add_argument("--size", default="1536x2048")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--batch-size", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
