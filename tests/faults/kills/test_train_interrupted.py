"""Promise 18: a training that is killed or stopped, as a real process, ends with the bytes of one that was not."""

import json
import signal

import pytest

from tests.builders.families import PLAIN
from tests.builders.training import write_masked_set
from tests.faults.injected import Fault

pytestmark = pytest.mark.slow
STEPS = 24


CONFIG = f"""
[[datasets]]
cache_directory = "cache"
[model]
arch = "{PLAIN}"
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


def train_and_signal(forks, folder, line, number):
    """Train with a signal amid the ``line``th line that this run logs, and return how the process ended."""
    ended = forks.run(folder, "train", fault=Fault("write", line, name="lora-log.jsonl", signal=number))
    assert ended.struck, ended.err
    return ended


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
    for line in (6, 10):
        assert train_and_signal(forks, tmp_path, line, signal.SIGKILL).code == -signal.SIGKILL
    finish(forks, tmp_path)
    assert_same(tmp_path, undisturbed)
    assert not list((tmp_path / "out").glob(".*part*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stop_is_saved_says_how_to_go_on_and_goes_on(forks, tmp_path, undisturbed, number, code):
    prepare(tmp_path)
    stopped = train_and_signal(forks, tmp_path, 5, number)
    assert stopped.code == code
    assert "run the same command again to continue" in stopped.err
    finish(forks, tmp_path)
    assert_same(tmp_path, undisturbed)
