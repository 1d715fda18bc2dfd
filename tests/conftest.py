"""Run the installed command as a user would, in a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def blissmask(tmp_path):
    """Return a function that runs ``blissmask`` with arguments in ``tmp_path`` and returns exit code and both streams."""

    def run(*arguments: object, cwd: Path = tmp_path, **env: str) -> Ran:
        command = [sys.executable, "-m", "blissmask", *map(str, arguments)]
        clean = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
        done = subprocess.run(
            command, cwd=cwd, env={**clean, "NO_COLOR": "1", **env}, capture_output=True, text=True, timeout=300, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
