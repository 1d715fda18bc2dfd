"""Run blissmask as a user would: in a process of its own, or in this one, whose libraries are loaded only once."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from blissmask.cli.app import build_app
from blissmask.cli.guarded import guarded


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


def run_blissmask(*arguments: object, cwd: Path, python: str = sys.executable, **env: str) -> Ran:
    """Run ``blissmask`` with ``arguments`` in ``cwd``, without colours; ``env`` adds environment variables."""
    command = [python, "-m", "blissmask", *map(str, arguments)]
    clean = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**clean, "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def run_here(line: str, folder: Path) -> Ran:
    """Run a whole command line, ``blissmask`` included, in this process with ``folder`` as the working folder."""
    arguments, before = shlex.split(line)[1:], Path.cwd()
    out, err = StringIO(), StringIO()
    os.chdir(folder)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = guarded(lambda: build_app()(arguments, prog_name="blissmask", standalone_mode=False), arguments)
    finally:
        os.chdir(before)
    return Ran(code, out.getvalue(), err.getvalue())
