"""A disk that fills up in the middle of a training: it is told, the last state is kept, and with room again the run ends as if nothing had been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.scenes import leftovers
from tests.faults.test_full_disk import can_mount
from tests.training_builders import write_masked_set

CONFIG = """
[[datasets]]
cache_directory = "cache"
[model]
arch = "wan21"
model = "tiny"
[train]
network_dim = 2
save_every_n_steps = 2
"""
STEPS = f"{sys.executable} -m blissmask train --no-progress --max-train-steps"
# Four steps; then all space but ROOM is taken and the next four are tried; then it is free again.
FILLED = f"""
set -e
mkdir out; mount -t tmpfs -o size=1m none out
{STEPS} 4
head -c 1048576 /dev/zero > out/filler 2>/dev/null || true
truncate -s -$ROOM out/filler
set +e; {STEPS} 8 2> said.txt; echo $? > code.txt; set -e
cp -a out full
rm out/filler
{STEPS} 8
cp -a out after
"""


def train(folder: Path, script: str, **environment: str) -> Path:
    write_masked_set(folder / "cache")
    (folder / "blissmask.toml").write_text(CONFIG, encoding="utf-8")
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return folder


def contents(path: Path) -> tuple[object, bytes]:
    """Return header and data of a safetensors file; the library writes the header's metadata in any order."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roomy")
    if not can_mount(folder):
        pytest.skip("this machine refuses user namespaces")
    return train(folder, f"{STEPS} 8") / "out"


@pytest.mark.slow
# Bytes that are left: for nothing, for the log but not for the LoRA file of step 6, for that but not for its training state.
@pytest.mark.parametrize("room", [0, 30_000, 60_000], ids=["log", "LoRA", "state"])
def test_a_training_keeps_its_last_state_on_a_full_disk_and_goes_on_exactly(tmp_path: Path, undisturbed: Path, room: int) -> None:
    train(tmp_path, FILLED, ROOM=str(room))
    said = (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert (tmp_path / "code.txt").read_text(encoding="utf-8").strip() == "1", said
    assert "error: no space left to write" in said
    assert "free some space, then run the same command again" in said
    assert "lora-step00000004-state" in {path.name for path in (tmp_path / "full").iterdir()}
    assert leftovers(tmp_path / "full") == []
    after = tmp_path / "after"
    assert "lora-step00000008-state" in {path.name for path in after.iterdir()}
    assert contents(after / "lora.safetensors") == contents(undisturbed / "lora.safetensors")
    assert (after / "lora-log.jsonl").read_bytes() == (undisturbed / "lora-log.jsonl").read_bytes()
