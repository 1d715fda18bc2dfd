"""Promise 17: one writer per output; a killed one leaves no lock; and where the disk has no locks, files are whole all the same."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.faults.forks import Forks
from tests.faults.injected import Fault
from tests.faults.scenes import SCENES, leftovers, results

BUSY = 4
STATE_FILES = ("lora.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
ROUNDS = 2


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    output = tmp_path / scene.output
    assert forks.run(tmp_path, *scene.arguments).code == 0
    whole = results(output)
    shutil.rmtree(output)
    # It stands still before its first result has its name, and holds the lock: the first name is of the holder's file.
    standstill = Fault("rename", 2, below=scene.output, signal=signal.SIGSTOP)
    holder = forks.start(tmp_path, *scene.arguments, name="holder", fault=standstill)
    holder.wait_until(holder.stands_still)
    refused = forks.run(tmp_path, *scene.arguments)
    assert refused.code == BUSY, refused.err
    assert f"`blissmask {command}`, process {holder.process}" in refused.err
    holder.kill()
    ended = forks.run(tmp_path, *scene.arguments)
    assert ended.code == 0, ended.err
    assert results(output) == whole
    assert leftovers(output) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_two_runs_without_locks_tear_nothing(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    output = tmp_path / scene.output
    assert forks.run(tmp_path, *scene.arguments).code == 0
    whole = results(output)
    for _ in range(ROUNDS):
        shutil.rmtree(output)
        both = [forks.start(tmp_path, *scene.arguments, name=name, locked=False) for name in ("first", "second")]
        for run in both:
            ended = run.wait()
            # They take each other's temporary files for leftovers, and say so.
            assert ended.code in (0, 1, 3), ended.err
            assert "mistake of ours" not in ended.err
        for name, content in results(output).items():
            # A run leaves out of its record of scores what the other one wrote first: such an item fails.
            of_each_run = name.endswith((".jsonl", "blissmask-scores.json"))
            assert of_each_run or name not in whole or content == whole[name], name
        ended = forks.run(tmp_path, *scene.arguments)
        assert ended.code == 0, ended.err
        # A log has the lines of both; older training states may be left over, or gone with the other's.
        present = results(output)
        aside = (".jsonl", *(f"lora-step00000002-state/{name}" for name in STATE_FILES))
        assert [
            name for name, content in whole.items() if present.get(name) != content and not name.endswith(aside)
        ] == []
