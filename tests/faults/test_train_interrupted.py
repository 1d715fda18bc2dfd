"""Promise 18: a training that is killed or stopped, as a real process, ends with the bytes of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from blissmask.training.metrics import read_log
from tests.training_builders import write_masked_set

pytestmark = pytest.mark.slow
STEPS = 24


def command(folder):
    (folder / "blissmask.toml").write_text(
        f"""
[[datasets]]
cache_directory = "cache"
[model]
arch = "wan21"
model = "tiny"
[mask_loss]
use_mask_loss = true
mask_gamma = 0.7
[train]
output_dir = "out"
max_train_steps = {STEPS}
save_every_n_steps = 4
network_dim = 2
""",
        encoding="utf-8",
    )
    return [sys.executable, "-m", "blissmask", "train"]


def start(folder):
    write_masked_set(folder / "cache")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(command(folder), cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=said)


def wait_for_step(process, folder, step):
    log = folder / "out" / "lora-log.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and (not log.is_file() or len(read_log(log)) < step):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def parsed(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder).wait(300) == 0, (folder / "said.txt").read_text()
    return folder


def assert_same(folder, undisturbed):
    assert parsed(folder / "out" / "lora.safetensors") == parsed(undisturbed / "out" / "lora.safetensors")
    assert (folder / "out" / "lora-log.jsonl").read_bytes() == (undisturbed / "out" / "lora-log.jsonl").read_bytes()


def test_kill_and_run_again_ends_with_the_same_lora_and_log(tmp_path, undisturbed):
    for step in (6, 14):
        process = start(tmp_path)
        wait_for_step(process, tmp_path, step)
        process.kill()
        process.wait()
    assert start(tmp_path).wait(300) == 0
    assert_same(tmp_path, undisturbed)
    assert not list((tmp_path / "out").glob(".*part*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_saved_says_how_to_go_on_and_goes_on(tmp_path, undisturbed, number, code):
    process = start(tmp_path)
    wait_for_step(process, tmp_path, 5)
    process.send_signal(number)
    assert process.wait(120) == code
    assert "run the same command again to continue" in (tmp_path / "said.txt").read_text()
    assert start(tmp_path).wait(300) == 0
    assert_same(tmp_path, undisturbed)
