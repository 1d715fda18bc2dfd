"""Promise 19: killed at whatever call, a save of a training state leaves the newest whole state to go on from."""

import shutil
from pathlib import Path

import torch

from blissmask.training.record.states.find import find_states
from blissmask.training.record.states.load import load_state
from blissmask.training.record.states.save import TrainingState, save_state
from tests.faults.forks import Forks
from tests.faults.injected import Fault
from tests.faults.scenes import leftovers

SAVE = """
import torch
from pathlib import Path
from blissmask.training.record.states.save import TrainingState, save_state
step = {step}
tensors = {{"lora": {{"a": torch.full((40, 30), float(step))}}, "optimizer": {{"0.m": torch.full((9,), float(step))}}}}
save_state(Path("out"), "kyla", TrainingState(step, {{"note": step}}, tensors), keep_last=2)
"""


def save(folder: Path, step: int) -> None:
    save_state(
        folder,
        "kyla",
        TrainingState(step, {"note": step}, {"lora": {"a": torch.full((40, 30), float(step))}}),
        keep_last=2,
    )


def check(folder: Path, expected: set[int]) -> None:
    found = find_states(folder, "kyla")
    assert found.newest is not None
    assert found.damaged == {}
    state = load_state(found.newest)
    assert state.step in expected
    assert state.numbers["note"] == state.step
    assert (state.tensors()["lora"]["a"] == state.step).all()


def test_a_save_killed_at_any_call_leaves_the_state_before_or_after_it(tmp_path: Path, forks: Forks) -> None:
    output = tmp_path / "out"
    for number in range(1, 1000):
        for step in (1, 2):
            save(output, step)
        killed = forks.run(tmp_path, "-c", SAVE.format(step=3), fault=Fault("any", number))
        check(output, {2, 3})
        if not killed.struck:
            break
        assert killed.code == -9
        save(output, 4)
        check(output, {4})
        assert leftovers(output) == []
        assert len(find_states(output, "kyla").whole) == 2
        shutil.rmtree(output)
    assert number > 15
    assert killed.code == 0


def test_a_run_that_starts_anew_killed_at_any_call_of_its_first_save_leaves_no_doubt(
    tmp_path: Path, forks: Forks
) -> None:
    output = tmp_path / "out"
    for number in range(1, 1000):
        for step in (7, 9):
            save(output, step)
        killed = forks.run(
            tmp_path,
            "-c",
            SAVE.format(step=3).replace("keep_last=2", "keep_last=2, anew=True"),
            fault=Fault("any", number),
        )
        # Of the earlier run all states, or of the new one its first: never an older one beside it that passes for newer.
        assert [step for step, _ in find_states(output, "kyla").whole] in ([7, 9], [3])
        if not killed.struck:
            break
        newest = find_states(output, "kyla").whole[-1][0]
        save(output, newest + 1)
        assert [step for step, _ in find_states(output, "kyla").whole] == ([9, 10] if newest == 9 else [3, 4])
        assert leftovers(output) == []
        shutil.rmtree(output)
    assert number > 15
    assert [step for step, _ in find_states(output, "kyla").whole] == [3]


def test_saving_a_step_again_killed_at_any_call_leaves_a_whole_state(tmp_path: Path, forks: Forks) -> None:
    output = tmp_path / "out"
    for number in range(1, 1000):
        for step in (1, 2):
            save(output, step)
        killed = forks.run(tmp_path, "-c", SAVE.format(step=2), fault=Fault("any", number))
        found = find_states(output, "kyla")
        assert found.newest is not None
        assert load_state(found.newest).step in (1, 2)
        if not killed.struck:
            break
    assert number > 15
