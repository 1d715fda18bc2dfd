"""Promise 3: a full disk ends in a clear message, exit 1, nothing torn and no leftovers; `train` has its own test, in the middle of a save."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.faults.forks import Forks
from tests.faults.scenes import SCENES, leftovers

# Of the MiB 8 KiB stay free, so that the lock fits and the outputs do not.
FILL = "mkdir -p out; mount -t tmpfs -o size=1m none out; head -c 1040384 /dev/zero > out/filler"
LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
runpy.run_module("blissmask", run_name="__main__")
"""
COMMANDS = sorted({*SCENES} - {"train"})


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_full_disk_is_told_and_nothing_is_torn(tmp_path: Path, mounting: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    mounting.shell(tmp_path, FILL)
    ended = mounting.run(tmp_path, *scene.arguments)
    assert ended.code == 1, ended.err
    assert "error: no space left to write" in ended.err
    mounting.shell(tmp_path, "cp -a out kept")
    assert (tmp_path / "kept" / "filler").exists()
    assert leftovers(tmp_path / "kept") == []


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_may_not_grow_are_told_and_nothing_is_torn(tmp_path: Path, warm_python: str, command: str) -> None:
    scene = SCENES[command](tmp_path)
    ran = subprocess.run(
        [warm_python, "-c", LIMITED, *scene.arguments],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 1, ran.stderr
    assert "takes no file of this size" in ran.stderr
    assert [path for path in (tmp_path / scene.output).iterdir() if path.stat().st_size or "-part" in path.name] == []
