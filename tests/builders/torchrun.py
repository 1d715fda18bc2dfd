"""Python code in two processes, and several trainings in one launch: importing takes longer than training does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

HOUSE = Path(__file__).parents[2]

Jobs = Mapping[str, Mapping[str, Any]]
"""Options of a training by the name of its output folder."""


LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    # Without `--multi_gpu` it starts a single process on a machine that has no GPU.
    "accelerate": ("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"),
}
"""Name -> module and options that start two processes on this machine."""


def run_worker(
    worker: str, folder: Path, argument: object, *, launcher: str = "torchrun", python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Run Python code in two processes; its arguments are ``folder`` and ``argument`` as JSON.

    ``python`` runs the launcher and the two.
    """
    script = folder / "worker.py"
    script.write_text(worker, encoding="utf-8")
    return subprocess.run(
        [python, "-m", *LAUNCHERS[launcher], script, folder, json.dumps(argument)],
        env=launched_by(python),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def launched_by(python: str) -> dict[str, str]:
    """Return the environment in which a launcher starts ``python``."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOUSE), "PYTHON_EXEC": python}


def launch(worker: str, folder: Path, jobs: Jobs, *, python: str, launcher: str = "torchrun") -> str:
    """Run ``worker``, Python code that does the :func:`jobs_in_turn`, in two processes, and return what they printed.

    What became of a job must be seen by its output: one that fails ends the launch.
    """
    return run_worker(worker, folder, jobs, launcher=launcher, python=python).stderr


def jobs_in_turn() -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Yield folder, name and options of every job of this process, each to be done before the next is asked for."""
    folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
    genuine = dist.init_process_group
    for number, (name, options) in enumerate(jobs.items()):
        yield folder, name, options
        torch.compiler.reset()

        # The first job meets as its launcher has it. Where they met is written down there for good, so later ones meet
        # elsewhere.
        def elsewhere(backend: str, *, timeout: timedelta, number: int = number) -> None:
            store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
            rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            own = dist.PrefixStore(f"after {number}", store)
            genuine(backend, store=own, rank=rank, world_size=count, timeout=timeout)

        dist.init_process_group = elsewhere
