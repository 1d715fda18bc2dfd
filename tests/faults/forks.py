"""Run subcommands in forked processes: real ones, to be killed at will, that do not pay for the imports each time.

``python -m tests.faults.forks`` is the process that is forked. It has imported everything, opened the networks of the package, and
computed nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import pytest

from tests.builders.disk import wait_for_no_disk
from tests.builders.remembered import remembered_networks
from tests.builders.small_charts import draw_small_charts
from tests.builders.warm import import_everything
from tests.faults.injected import RECORDED, STRUCK, Fault, arm, record

HOUSE = Path(__file__).parents[2]
PATIENCE = 600.0
"""Most seconds that a test waits for a sign of another process: so many that only a sign that never comes takes longer,
however busy the machine is."""
_LARGE_PAGES = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""What lets the process that is forked keep its memory in large pages: a fork copies an entry for each page, which took 30 ms
of processor time with its end, and takes 9 so."""
_BETWEEN_LOOKS = 0.002
"""Seconds between two looks for a sign; short beside the steps and items in miniature that runs are caught in."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (negative: the signal that killed it), both streams, and whether its fault struck."""

    code: int
    out: str
    err: str
    struck: bool


class Forks:
    """The process that is forked, as seen from a test; making it waits until it is ready.

    Args:
        inside: a command that starts another, e.g. in name spaces of its own.
    """

    def __init__(self, *inside: str) -> None:
        environment = {**os.environ, **_LARGE_PAGES, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-m", "tests.faults.forks"],
            cwd=HOUSE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def start(
        self,
        folder: Path,
        *arguments: str,
        fault: Fault | None = None,
        name: str = "run",
        locked: bool = True,
        recorded: bool = False,
    ) -> Running:
        """Begin ``blissmask ARGUMENTS`` in ``folder``, or with ``-c CODE`` some Python.

        Args:
            folder: the working folder.
            arguments: of the command line.
            fault: what goes wrong.
            name: keeps the output of runs at the same time apart.
            locked: whether locks work; on some network disks they do not.
            recorded: whether its calls are recorded; see :func:`calls_of`.
        """
        (folder / STRUCK).unlink(missing_ok=True)
        job = {
            "folder": str(folder),
            "arguments": arguments,
            "fault": asdict(fault) if fault else None,
            "name": name,
            "locked": locked,
            "recorded": recorded,
        }
        return Running(self, self._ask(job), folder, name)

    def run(self, folder: Path, *arguments: str, fault: Fault | None = None, recorded: bool = False) -> Ended:
        """Run to the end."""
        return self.start(folder, *arguments, fault=fault, recorded=recorded).wait()

    def shell(self, folder: Path, script: str) -> None:
        """Run a shell script, which must succeed, where the subcommands run: it sees what they see."""
        ended = self.run(folder, "-c", f"import subprocess; subprocess.run(['sh', '-ec', {script!r}], check=True)")
        assert ended.code == 0, ended.err

    def wait(self, number: int) -> int:
        """Wait for the end of process ``number`` and return its exit code."""
        return self._ask({"wait": number})

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def _ask(self, job: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def calls_of(folder: Path) -> list[str]:
    """Return the kinds of all calls of the run in ``folder`` that was recorded last, in their order."""
    return (folder / RECORDED).read_text(encoding="utf-8", errors="surrogateescape").splitlines()


@dataclass(frozen=True)
class Running:
    """A run that has begun."""

    forks: Forks
    process: int
    folder: Path
    name: str

    def signal(self, number: int) -> None:
        os.kill(self.process, number)

    def wait_until(self, sign: Callable[[], bool]) -> None:
        """Wait for a sign that the run has come to some place, e.g. a file that it writes there."""
        deadline = time.monotonic() + PATIENCE
        while not sign():
            assert time.monotonic() < deadline, self.said()
            time.sleep(_BETWEEN_LOOKS)

    def has_struck(self) -> bool:
        """Return whether its fault has struck."""
        return (self.folder / STRUCK).exists()

    def stands_still(self) -> bool:
        """Return whether a stop has reached it: a moment after it was sent, and going on before that would be forgotten."""
        state = Path(f"/proc/{self.process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        return state == "T"

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> Ended:
        code = self.forks.wait(self.process)
        out, err = (self.said(stream) for stream in ("out", "err"))
        return Ended(code, out, err, self.has_struck())

    def said(self, stream: str = "err") -> str:
        """Return what it has printed so far."""
        return (self.folder / f"{self.name}.{stream}").read_text(encoding="utf-8", errors="surrogateescape")


def _serve() -> None:
    from blissmask.vision import session

    # The runs start other programs as anybody would.
    for name in _LARGE_PAGES:
        del os.environ[name]
    wait_for_no_disk()
    import_everything()
    draw_small_charts(pytest.MonkeyPatch())
    answers = Path(tempfile.mkdtemp(prefix="answers-"))
    # Of one thread, so a fork of the process that opened it can run it.
    session._session = remembered_networks(answers)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            _, status = os.waitpid(job["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        process = os.fork()
        if not process:
            _become(job)
        print(process, flush=True)
    shutil.rmtree(answers)
    # Nothing is left to be done; tearing down what was imported takes seconds.
    os._exit(0)


def _become(job: dict[str, Any]) -> None:
    """Be the run that ``job`` describes; never returns."""
    from blissmask.cli.app import main

    os.chdir(job["folder"])
    for stream, descriptor in (("out", 1), ("err", 2)):
        file = os.open(f"{job['name']}.{stream}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
        os.dup2(file, descriptor)
    if not job["locked"]:
        filelock.FileLock.acquire = filelock.FileLock.release = lambda *_: None
    if job["recorded"]:
        record()
    if job["fault"]:
        arm(Fault(**job["fault"]))
    sys.argv = ["blissmask", *job["arguments"]]
    code = 99
    try:
        if job["arguments"][0] == "-c":
            exec(job["arguments"][1], {})
            code = 0
        else:
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
