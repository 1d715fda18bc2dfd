"""A disk that fills up in the middle of a training: it waits for room, and ends as if nothing had been, or with its state in a second place."""

import json
from pathlib import Path

import pytest

from tests.builders.families import PLAIN
from tests.builders.training import write_masked_set
from tests.faults.forks import Ended, Forks
from tests.faults.scenes import leftovers

CONFIG = f"""
[[datasets]]
cache_directory = "cache"
[model]
arch = "{PLAIN}"
model = "tiny"
[lora]
network_dim = 2

[saving]
save_every_n_steps = 2
"""
# A training of four steps is on the disk; then all space but so many bytes is taken.
FILL = """
mkdir out; mount -t tmpfs -o size=1m none out; cp -a {begun}/. out
head -c 1048576 /dev/zero > out/filler 2>/dev/null || true
truncate -s -{room} out/filler
"""


def train(forks: Forks, folder: Path, *, steps: int) -> Ended:
    return forks.run(folder, "train", "--no-progress", "--max-train-steps", str(steps))


def prepare(folder: Path) -> Path:
    write_masked_set(folder / "cache")
    (folder / "blissmask.toml").write_text(CONFIG, encoding="utf-8")
    return folder


def contents(path: Path) -> tuple[object, bytes]:
    """Return header and data of a safetensors file; the library writes the header's metadata in any order."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.fixture(scope="module")
def undisturbed(mounting: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepare(tmp_path_factory.mktemp("roomy"))
    assert train(mounting, folder, steps=8).code == 0
    return folder / "out"


@pytest.fixture(scope="module")
def begun(mounting: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of the first four steps."""
    folder = prepare(tmp_path_factory.mktemp("begun"))
    assert train(mounting, folder, steps=4).code == 0
    return folder / "out"


def train_impatiently(forks: Forks, folder: Path, *, steps: int) -> Ended:
    """Train as ``train`` does, but wait a second only for room."""
    arguments = ["blissmask", "train", "--no-progress", "--max-train-steps", str(steps), "--rescue-dir", "second"]
    code = f"""
import sys
from blissmask.cli.app import main
from blissmask.tasks.train.saving import rescue
rescue.PATIENCE_SECONDS = 1.0
sys.argv = {arguments!r}
main()
"""
    return forks.run(folder, "-c", code)


@pytest.mark.slow
def test_a_disk_without_room_for_the_log_stops_a_training_before_its_first_step(
    tmp_path: Path, mounting: Forks, begun: Path
) -> None:
    prepare(tmp_path)
    mounting.shell(tmp_path, FILL.format(begun=begun, room=0))
    filled = train(mounting, tmp_path, steps=8)
    assert filled.code == 1, filled.err
    assert "error: no space left to write" in filled.err
    mounting.shell(tmp_path, "cp -a out full")
    assert leftovers(tmp_path / "full") == []


@pytest.mark.slow
# Bytes that are left: for the log but not for the LoRA file of step 6, for that but not for its training state.
@pytest.mark.parametrize("room", [30_000, 60_000], ids=["LoRA", "state"])
def test_a_training_without_room_ends_with_its_state_in_a_second_place_and_goes_on_exactly(
    tmp_path: Path, mounting: Forks, undisturbed: Path, begun: Path, room: int
) -> None:
    prepare(tmp_path)
    mounting.shell(tmp_path, FILL.format(begun=begun, room=room))
    filled = train_impatiently(mounting, tmp_path, steps=8)
    assert filled.code == 1, filled.err
    assert "the training waits to be saved after step 6: no space left to write" in filled.err
    assert "its state is in a second place" in filled.err
    assert (tmp_path / "second" / "lora-step00000006-state" / "manifest.json").exists()
    mounting.shell(tmp_path, "cp -a out full; rm out/filler; mv second/*-state out")
    assert "lora-step00000004-state" in {path.name for path in (tmp_path / "full").iterdir()}
    assert leftovers(tmp_path / "full") == []
    again = train(mounting, tmp_path, steps=8)
    assert again.code == 0, again.err
    assert "going on after step 6" in again.err
    mounting.shell(tmp_path, "cp -a out after")
    after = tmp_path / "after"
    assert contents(after / "lora.safetensors") == contents(undisturbed / "lora.safetensors")
    assert (after / "lora-log.jsonl").read_bytes() == (undisturbed / "lora-log.jsonl").read_bytes()


@pytest.mark.slow
def test_a_training_goes_on_by_itself_when_there_is_room_again(
    tmp_path: Path, mounting: Forks, undisturbed: Path, begun: Path
) -> None:
    prepare(tmp_path)
    mounting.shell(tmp_path, FILL.format(begun=begun, room=30_000))
    waiting = mounting.start(tmp_path, "train", "--no-progress", "--max-train-steps", "8", name="waiting")
    waiting.wait_until((tmp_path / "waiting.err").exists)
    waiting.wait_until(lambda: "the training waits to be saved" in waiting.said())
    mounting.shell(tmp_path, "rm out/filler")
    ended = waiting.wait()
    assert ended.code == 0, ended.err
    mounting.shell(tmp_path, "cp -a out after")
    assert contents(tmp_path / "after" / "lora.safetensors") == contents(undisturbed / "lora.safetensors")
