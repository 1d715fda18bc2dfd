"""Several trainings in one launch of ``torchrun``: importing takes its processes longer than training does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

HOUSE = Path(__file__).parents[2]

Jobs = Mapping[str, Mapping[str, Any]]
"""Options of a training by the name of its output folder."""


def launch(worker: str, folder: Path, jobs: Jobs, *, processes: int = 2) -> str:
    """Run ``worker``, Python code that does the :func:`jobs_in_turn`, in each of the processes, and return what they said.

    What became of a job must be seen by its output: one that fails ends the launch.
    """
    script = folder / "worker.py"
    script.write_text(worker, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOUSE)}
    done = subprocess.run(
        [*command, script, folder, json.dumps(jobs)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stderr


def jobs_in_turn() -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Yield folder, name and options of every job of this process, each to be done before the next is asked for."""
    folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
    genuine = dist.init_process_group
    for number, (name, options) in enumerate(jobs.items()):
        yield folder, name, options
        torch.compiler.reset()

        # The first job meets as torchrun has it. Where they met is written down there for good, so later ones meet elsewhere.
        def elsewhere(backend: str, number: int = number) -> None:
            store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
            rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            genuine(backend, store=dist.PrefixStore(f"after {number}", store), rank=rank, world_size=count)

        dist.init_process_group = elsewhere
