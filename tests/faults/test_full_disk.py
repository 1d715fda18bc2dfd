"""Promise 3: a full disk ends in a clear message, exit 1, nothing torn and no leftovers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.scenes import SCENES

FILLED = 'set -e; mkdir -p out; mount -t tmpfs -o size=64k none out; set +e; "$@"; code=$?; cp -a out kept; exit $code'


def can_mount(folder):
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)], capture_output=True, check=False)
    return probe.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_full_disk_is_told_and_nothing_is_torn(tmp_path, command):
    if not can_mount(tmp_path):
        pytest.skip("this machine refuses user namespaces")
    scene = SCENES[command](tmp_path)
    # 60 of the 64 KiB are taken, so that the lock fits and the first output does not.
    filler = f"head -c 57344 /dev/zero > {scene.output}/filler; exec {sys.executable} -m blissmask " + " ".join(scene.arguments)
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", FILLED, "sh", "sh", "-c", filler],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 1, ran.stderr
    assert "error: no space left to write" in ran.stderr
    kept = {path.name for path in Path(tmp_path / "kept").iterdir()}
    assert not [name for name in kept if name.endswith("-part")]
