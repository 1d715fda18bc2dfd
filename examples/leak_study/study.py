"""Run the leak study: `python examples/leak_study/study.py`, or with `--quick` a version of one minute.

Finished runs are skipped, so the same command continues an interrupted study.
"""

from __future__ import annotations

import argparse
import itertools
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
QUICK_EFFORT = Effort(steps=60, rate=3e-3, looks=(), pictures=12)
"""Fewer steps at three times the rate show the same orderings."""
PEOPLE = ("base", "tiers", "tiers-prior", "tiers-free", "tiers-prior-free", "tiers-continuous", "tiers-prior-ema")
CROPS_AND_TWO = ("prior-cut", "prior-followed", "two", "two-prior", "two-prior-free")
SHARES = ("tiers-prior", "tiers-prior-half", "tiers-prior-quarter")
PEOPLE_EFFORT = Effort(looks=(), looks_at_others=True)


@dataclass(frozen=True, slots=True)
class Run:
    """One arm in one world with one subject, room and seed.

    Attributes:
        out: folder of the study.
        world: ``cells`` or ``conv``, the way of encoding.
        arm: name in ``arms.ARMS``.
        draw: number of the draw, see ``arms.Draw``.
        base_file: the base model of the world.
        codec_file: the autoencoder of the world; None for cells.
        effort: length of the run.
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
        """Return the file of the run's numbers; the run is finished when the file exists."""
        return self.out / "runs" / f"{self.world}_{self.arm}_{self.draw}.json"


def plan(out: Path, kind: str) -> list[list[Run]]:
    """Return the runs of a study, ``quick``, ``people``, ``shares`` or ``full``, in stages, the most important first.

    An interrupted study has whole stages, so that its arms have the same draws.
    """
    if kind == "quick":
        return [_stage(out, "cells", QUICK, (1,), base_file=COMMITTED_BASE, codec_file=None, effort=QUICK_EFFORT)]
    if kind == "people":
        stages: list[tuple[Sequence[str], Sequence[int]]] = [(PEOPLE, (0, 1)), (CROPS_AND_TWO, (0, 1)), (PEOPLE, (2,))]
        return [
            _stage(out, "cells", arms, draws, base_file=COMMITTED_BASE, codec_file=None, effort=PEOPLE_EFFORT)
            for arms, draws in stages
        ]
    if kind == "shares":
        draws = range(6)
        return [_stage(out, "cells", SHARES, draws, base_file=COMMITTED_BASE, codec_file=None, effort=PEOPLE_EFFORT)]
    cells_base, _ = _files(out, "cells")
    conv_base, codec = _files(out, "conv")
    first, second = (0, 1, 2), (3, 4, 5)
    return [
        _stage(out, "cells", CORE, first, base_file=cells_base, codec_file=None),
        _stage(out, "cells", SIDE, first, base_file=cells_base, codec_file=None),
        _stage(out, "conv", CONV, first, base_file=conv_base, codec_file=codec),
        _stage(out, "cells", CORE, second, base_file=cells_base, codec_file=None),
    ]


def train_bases(out: Path, world: str) -> None:
    """Train the base model of ``world``, and the autoencoder that it needs, unless their files exist."""
    cells, _ = _files(out, "cells")
    if not cells.is_file():
        base.train_base(cells, base.Schedule(BASE_STEPS), codec=None)
    base_file, codec_file = _files(out, world)
    if codec_file is not None and not codec_file.is_file():
        base.train_codec(codec_file, steps=CODEC_STEPS, report=_print_codec_step)
    if not base_file.is_file():
        base.train_base(base_file, base.Schedule(CONV_BASE_STEPS, rate=0.01, seed=1), codec=codec_file, warm=cells)


def carry_out(runs: Sequence[Run], *, processes: int) -> None:
    """Do the runs that have no result yet, and print a line for each."""
    waiting = [run for run in runs if not run.result.is_file()]
    print(f"{runs[0].world}: {len(runs) - len(waiting)} of {len(runs)} runs of this stage are finished", flush=True)
    started = time.monotonic()
    for done, (run, numbers) in enumerate(_results(waiting, processes), start=1):
        swap = numbers["final"]["swap"]
        left = (time.monotonic() - started) / done * (len(waiting) - done) / 60
        print(
            f"{done} of {len(waiting)}: {run.world} {run.arm} draw {run.draw}: "
            f"copied {swap['copied']:.0%}, flooded {swap['flooded']:.0%}, asked place {swap['asked_place']:.0%}, "
            f"face error {swap['face_error']:.2f}; {numbers['seconds']:.0f} s, {left:.0f} min left",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study, print its table and draw its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--quick",
        dest="kind",
        action="store_const",
        const="quick",
        default="full",
        help="one minute on the base model beside this file: five arms, one draw, fewer steps",
    )
    which.add_argument(
        "--people",
        dest="kind",
        action="store_const",
        const="people",
        help="who else becomes the subject, on the base model beside this file: twelve arms, two or three draws",
    )
    which.add_argument(
        "--shares",
        dest="kind",
        action="store_const",
        const="shares",
        help="prior preservation in fewer steps, on the base model beside this file: three arms, six draws",
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the results (default: work/full, quick, people or shares beside this file)"
    )
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    given = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    out: Path = given.out or HERE / "work" / given.kind
    with writing_to([out], command="leak study"):
        for runs in plan(out, given.kind):
            if given.kind == "full":
                train_bases(out, runs[0].world)
            carry_out(runs, processes=given.processes)
        print(table.table(out), flush=True)
        figures.draw_all(out, out / "figures")
    print(f"figures are in {out / 'figures'}")


def _files(out: Path, world: str) -> tuple[Path, Path | None]:
    """Return the file of a world's base model and that of its autoencoder; cells have none."""
    if world == "cells":
        return out / "base.safetensors", None
    return out / "conv_base.safetensors", out / "codec.safetensors"


def _stage(
    out: Path,
    world: str,
    arms: Iterable[str],
    draws: Iterable[int],
    *,
    base_file: Path,
    codec_file: Path | None,
    effort: Effort | None = None,
) -> list[Run]:
    """Return the runs of all ``arms`` with each of the ``draws``, draw by draw."""
    runs = []
    for draw, arm in itertools.product(draws, arms):
        run = Run(
            out=out,
            world=world,
            arm=arm,
            draw=draw,
            base_file=base_file,
            codec_file=codec_file,
            effort=effort or Effort(),
        )
        runs.append(run)
    return runs


def _print_codec_step(done: int, text: str) -> None:
    print(f"codec: step {done} of {CODEC_STEPS}, {text}", flush=True)


def _results(runs: Sequence[Run], processes: int) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Do the runs, ``processes`` at a time, and yield each with its numbers as it ends."""
    if processes == 1:
        yield from map(_do, runs)
        return
    with multiprocessing.get_context("spawn").Pool(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.imap_unordered(_do, runs)


def _do(run: Run) -> tuple[Run, dict[str, Any]]:
    result = run_arm(run.arm, Draw(run.draw), run.base_file, base.load_codec(run.codec_file), run.effort)
    numbers = {"world": run.world, "text": ARMS[run.arm].text, **result.numbers}
    samples = {}
    for kind, rgb_B3HW in result.samples.items():
        samples[kind] = ((rgb_B3HW.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    save_tensors(run.result.with_suffix(".safetensors"), samples, {})
    # The numbers are written last: their file marks the run as finished.
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
