"""tasks/train/resume.py: where a training starts, by what an earlier run left in its folder."""

from types import SimpleNamespace

import pytest
import torch

from blissmask.errors import InputError, MachineError, UsageError
from blissmask.tasks.run.plan import Action
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.resume import choose_start
from blissmask.training.record.saving import Outputs
from blissmask.training.record.states.save import TrainingState, save_state


@pytest.fixture
def names(tmp_path):
    return Outputs(tmp_path, "kyla", ("kyla",))


def save(names, *steps):
    return [
        save_state(names.folder, "kyla", TrainingState(step, {}, {"lora": {"a": torch.ones(2)}}), keep_last=None)
        for step in steps
    ]


def start(names, *, total_steps=8, resume=True):
    return choose_start(names, {}, total_steps=total_steps, resume=resume)


def test_of_damaged_states_it_is_said_which_one_is_whole(names):
    older, newest = save(names, 2, 4)
    (newest / "lora.safetensors").unlink()
    found = start(names)
    assert found.state.path == older
    (warning,) = found.warnings
    assert warning.what.endswith("are passed over; the newest whole one is of step 2")
    assert warning.where == (f"{newest}: `lora.safetensors` is missing",)
    # Who begins again asks for none of them.
    (warning,) = start(names, resume=False).warnings
    assert (warning.where, "whole" in warning.what) == ((str(older), str(newest)), False)


def test_training_does_not_begin_again_because_all_states_are_damaged(names):
    (state,) = save(names, 4)
    (state / "lora.safetensors").unlink()
    with pytest.raises(UsageError, match="none of the training states of `kyla` is whole") as caught:
        start(names)
    (problem,) = caught.value.problems
    assert problem.where == (f"{state}: `lora.safetensors` is missing",)
    assert "`--no-resume`" in problem.fix
    assert start(names, resume=False).state is None


def test_a_lora_whose_states_were_taken_away_is_not_replaced_in_silence(names):
    (lora,) = names.lora_files()
    lora.touch()
    (warning,) = start(names).warnings
    assert "in the end replaces an earlier LoRA" in warning.what
    assert warning.where == (str(lora),)


def test_a_state_beyond_the_last_step_is_all_that_is_asked_for(names):
    (lora,) = names.lora_files()
    save(names, 9)
    (item,) = start(names).items
    assert (item.action, item.reason) == (Action.WRITE, "all of its steps are in the training state of step 9")
    lora.touch()
    (item,) = start(names).items
    assert (item.action, item.reason) == (Action.SKIP, "already trained for 9 steps")


@pytest.mark.parametrize("name", ["kyla.safetensors", "kyla-log.jsonl"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_the_first_step(names, name):
    (names.folder / name).mkdir()
    for resume in (True, False):
        with pytest.raises(InputError, match="a folder stands where") as caught:
            start(names, resume=resume)
        assert caught.value.problems[0].where == (str(names.folder / name),)


@pytest.mark.parametrize("others", [0, 4])
def test_a_process_that_sees_another_state_or_none_ends_the_run(others):
    plan = SimpleNamespace(start=2, processes=SimpleNamespace(gather=lambda start: [start, others]))
    with pytest.raises(MachineError, match="different training states") as caught:
        train_lora._refuse_other_start(plan)
    assert "same `output_dir`" in caught.value.problems[0].fix
