"""Run the leak study: `python examples/leak_study/study.py` for all of it, with `--quick` for two minutes of it.

What is finished is skipped, so an interrupted study goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import base
import figures
import table
import torch
from arms import ARMS, Draw, Effort, run_arm

from blissmask.cachefile.write import save_tensors
from blissmask.errors import BlissmaskError
from blissmask.storage.atomic import publishing
from blissmask.storage.lock import writing_to

HERE = Path(__file__).resolve().parent
COMMITTED_BASE = HERE / "base.safetensors"
BASE_STEPS, CODEC_STEPS, CONV_BASE_STEPS = 3000, 1000, 1200

CORE = ("base", "unmasked", "tiers", "tiers-floor05", "tiers-floor10", "binary", "face", "tiers-prior", "face-prior")
SIDE = ("hair128", "hair160", "mixed-batch", "mixed-sample", "gamma-latent", "gamma-pixel")
CONV = ("base", "unmasked", "tiers", "tiers-shrunk", "tiers-prior", "tiers-prior-shrunk")
QUICK = ("base", "unmasked", "tiers", "tiers-floor10", "tiers-prior")
QUICK_EFFORT = Effort(steps=120, looks=(), pictures=24)


@dataclass(frozen=True, slots=True)
class Run:
    """One arm in one world with one subject, room and seed.

    Attributes:
        out: folder of the study.
        world: ``cells`` or ``conv``, after the encoder.
        arm: in ``arms.ARMS``.
        draw: see ``arms.Draw``.
        base_file: the world's base model.
        codec_file: the world's autoencoder; None for cells.
        effort: how long.
    """

    out: Path
    world: str
    arm: str
    draw: int
    base_file: Path
    codec_file: Path | None
    effort: Effort

    @property
    def result(self) -> Path:
        """Return the file with the run's numbers; the run is finished when it is there."""
        return self.out / "runs" / f"{self.world}_{self.arm}_{self.draw}.json"


def plan(out: Path, *, quick: bool) -> list[list[Run]]:
    """Return the runs of the study in stages, the most telling first: an interrupted study has whole rounds of draws."""
    if quick:
        return [[Run(out, "cells", arm, draw, COMMITTED_BASE, None, QUICK_EFFORT) for draw in (0, 1) for arm in QUICK]]

    def runs(world: str, arms: Sequence[str], draws: Iterable[int]) -> list[Run]:
        base_file, codec_file = _files(out, world)
        return [Run(out, world, arm, draw, base_file, codec_file, Effort()) for draw in draws for arm in arms]

    first, second = (0, 1, 2), (3, 4, 5)
    return [
        runs("cells", CORE, first),
        runs("cells", SIDE, first),
        runs("conv", CONV, first),
        runs("cells", CORE, second),
    ]


def train_bases(out: Path, world: str) -> None:
    """Train the base model of ``world``, and the autoencoder it needs, where they are not there yet."""
    cells, _ = _files(out, "cells")
    if not cells.is_file():
        base.train_base(cells, base.Schedule(BASE_STEPS), codec=None)
    base_file, codec_file = _files(out, world)
    if codec_file is not None and not codec_file.is_file():
        base.train_codec(
            codec_file,
            steps=CODEC_STEPS,
            report=lambda done, text: print(f"codec: step {done} of {CODEC_STEPS}, {text}", flush=True),
        )
    if not base_file.is_file():
        base.train_base(base_file, base.Schedule(CONV_BASE_STEPS, rate=0.01, seed=1), codec=codec_file, warm=cells)


def carry_out(runs: Sequence[Run], *, processes: int) -> None:
    """Do the runs that have no result yet and print a line for each."""
    waiting = [run for run in runs if not run.result.is_file()]
    print(f"{runs[0].world}: {len(runs) - len(waiting)} of {len(runs)} runs of this stage are finished", flush=True)
    started = time.monotonic()
    for done, (run, numbers) in enumerate(_results(waiting, processes), start=1):
        swap = numbers["final"]["swap"]
        left = (time.monotonic() - started) / done * (len(waiting) - done) / 60
        print(
            f"{done} of {len(waiting)}: {run.world} {run.arm} draw {run.draw}: copied {swap['copied']:.0%}, flooded {swap['flooded']:.0%}, "
            f"asked place {swap['asked_place']:.0%}, face error {swap['face_error']:.2f}; {numbers['seconds']:.0f} s, {left:.0f} min left",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study, print its table and draw its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two minutes on the base model beside this file: five arms, two draws, fewer steps",
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the results (default: work/full or work/quick beside this file)"
    )
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    given = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    out: Path = given.out or HERE / "work" / ("quick" if given.quick else "full")
    with writing_to([out], command="leak study"):
        for runs in plan(out, quick=given.quick):
            if not given.quick:
                train_bases(out, runs[0].world)
            carry_out(runs, processes=given.processes)
        print(table.table(out), flush=True)
        figures.draw_all(out, out / "figures")
    print(f"figures are in {out / 'figures'}")


def _files(out: Path, world: str) -> tuple[Path, Path | None]:
    """Return the base model's and the autoencoder's file of a world."""
    return (
        (out / "base.safetensors", None)
        if world == "cells"
        else (out / "conv_base.safetensors", out / "codec.safetensors")
    )


def _results(runs: Sequence[Run], processes: int) -> Iterator[tuple[Run, dict[str, Any]]]:
    if processes == 1:
        yield from map(_do, runs)
        return
    with multiprocessing.get_context("spawn").Pool(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.imap_unordered(_do, runs)


def _do(run: Run) -> tuple[Run, dict[str, Any]]:
    result = run_arm(run.arm, Draw(run.draw), run.base_file, base.load_codec(run.codec_file), run.effort)
    numbers = {"world": run.world, "text": ARMS[run.arm].text, **result.numbers}
    samples = {
        kind: ((rgb_B3HW.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8) for kind, rgb_B3HW in result.samples.items()
    }
    save_tensors(run.result.with_suffix(".safetensors"), samples, {})
    # The numbers come last: where they are, the run is finished.
    with publishing(run.result) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    return run, numbers


if __name__ == "__main__":
    try:
        main()
    except BlissmaskError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
