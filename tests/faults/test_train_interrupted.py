"""Promise 18: a training that is killed or stopped, as a real process, ends with the bytes of one that was not."""

import json
import signal
import time

import pytest

from blissmask.training.record.metrics import read_log
from tests.builders.training import write_masked_set

pytestmark = pytest.mark.slow
STEPS = 24


CONFIG = f"""
[[datasets]]
cache_directory = "cache"
[model]
arch = "wan21"
model = "tiny"
[mask_loss]
use_mask_loss = true
mask_gamma = 0.7
[train]
max_train_steps = {STEPS}

[lora]
network_dim = 2

[saving]
output_dir = "out"
save_every_n_steps = 4
"""


def prepare(folder):
    write_masked_set(folder / "cache")
    (folder / "blissmask.toml").write_text(CONFIG, encoding="utf-8")


def start_and_signal(forks, folder, step, number):
    """Train until ``step`` steps are logged, send a signal, and return how the process ended."""
    training = forks.start(folder, "train")
    log = folder / "out" / "lora-log.jsonl"
    deadline = time.monotonic() + 120
    while not log.is_file() or len(read_log(log)) < step:
        assert time.monotonic() < deadline, training.said()
        time.sleep(0.002)
    training.signal(number)
    return training.wait()


def finish(forks, folder):
    ended = forks.run(folder, "train")
    assert ended.code == 0, ended.err


def parsed(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.fixture(scope="module")
def undisturbed(forks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    prepare(folder)
    finish(forks, folder)
    return folder


def assert_same(folder, undisturbed):
    assert parsed(folder / "out" / "lora.safetensors") == parsed(undisturbed / "out" / "lora.safetensors")
    assert (folder / "out" / "lora-log.jsonl").read_bytes() == (undisturbed / "out" / "lora-log.jsonl").read_bytes()


def test_kill_and_run_again_ends_with_the_same_lora_and_log(forks, tmp_path, undisturbed):
    prepare(tmp_path)
    for step in (6, 14):
        assert start_and_signal(forks, tmp_path, step, signal.SIGKILL).code == -signal.SIGKILL
    finish(forks, tmp_path)
    assert_same(tmp_path, undisturbed)
    assert not list((tmp_path / "out").glob(".*part*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_saved_says_how_to_go_on_and_goes_on(forks, tmp_path, undisturbed, number, code):
    prepare(tmp_path)
    stopped = start_and_signal(forks, tmp_path, 5, number)
    assert stopped.code == code
    assert "run the same command again to continue" in stopped.err
    finish(forks, tmp_path)
    assert_same(tmp_path, undisturbed)
