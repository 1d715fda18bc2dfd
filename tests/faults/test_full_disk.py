"""Promise 3: a full disk ends in a clear message, exit 1, nothing torn and no leftovers; `train` has its own test, in the middle of a save."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.scenes import SCENES, leftovers

# Of the MiB 8 KiB stay free, so that the lock fits and the outputs do not.
FILLED = """
set -e; mkdir -p out; mount -t tmpfs -o size=1m none out; head -c 1040384 /dev/zero > out/filler
set +e; "$@"; code=$?; cp -a out kept; exit $code
"""
COMMANDS = sorted({*SCENES} - {"train"})


def can_mount(folder: Path) -> bool:
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)], capture_output=True, check=False)
    return probe.returncode == 0


def run_in(shell: list[str], folder: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, sys.executable, "-m", "blissmask", *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_full_disk_is_told_and_nothing_is_torn(tmp_path: Path, command: str) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this machine refuses user namespaces; the next test does without")
    scene = SCENES[command](tmp_path)
    ran = run_in(["unshare", "-rm", "sh", "-c", FILLED, "sh"], tmp_path, scene.arguments)
    assert ran.returncode == 1, ran.stderr
    assert "error: no space left to write" in ran.stderr
    assert leftovers(tmp_path / "kept") == []


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_may_not_grow_are_told_like_a_full_disk(tmp_path: Path, command: str) -> None:
    scene = SCENES[command](tmp_path)
    ran = run_in(["sh", "-c", 'ulimit -f 0; exec "$@"', "sh"], tmp_path, scene.arguments)
    assert ran.returncode == 1, ran.stderr
    assert "error: no space left to write" in ran.stderr
    assert [path for path in (tmp_path / scene.output).iterdir() if path.stat().st_size or "-part" in path.name] == []
