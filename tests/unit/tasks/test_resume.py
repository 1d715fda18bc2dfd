"""tasks/train/resume.py: where a training starts, by what an earlier run left in its folder."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from blissmask.errors import InputError, MachineError, UsageError
from blissmask.tasks.ranking.candidates import saved_loras
from blissmask.tasks.run.plan import Action
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.resume import choose_start, files_of_before
from blissmask.training.record.saving import FILES_OF_BEFORE, Outputs
from blissmask.training.record.states.save import TrainingState, save_state


@pytest.fixture
def names(tmp_path):
    return Outputs(tmp_path, "kyla", ("kyla",))


TINY, REAL = "tiny-transformer-seed0", "sampled-5eed"
"""Identities of base models: of a miniature, and of a file."""


def save(names, *steps, base=None):
    numbers = {} if base is None else {"settings": {"base": [base]}}
    return [
        save_state(names.folder, "kyla", TrainingState(step, numbers, {"lora": {"a": torch.ones(2)}}), keep_last=None)
        for step in steps
    ]


def save_lora(path, base):
    """Write a LoRA file that says what it was trained on; with None, one that does not."""
    save_file({"a": torch.zeros(1)}, path, {} if base is None else {"ss_sd_model_hash": base})
    return path


def start(names, *, total_steps=8, resume=True, miniature=False):
    return choose_start(names, {}, total_steps=total_steps, resume=resume, miniature=miniature)


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


@pytest.mark.parametrize("steps", [(10,), ()], ids=["states and a LoRA", "a LoRA alone"])
def test_a_real_training_replaces_a_trial(names, steps):
    """Also one of more steps than are asked for now, and of settings that could not change."""
    states = save(names, *steps, base=TINY)
    lora = save_lora(*names.lora_files(), TINY)
    found = start(names)
    assert (found.state, [item.action for item in found.items]) == (None, [Action.WRITE])
    (warning,) = found.warnings
    assert warning.what.endswith("the training before was a trial in miniature; its states and LoRA are replaced")
    assert warning.where == (*map(str, states), str(lora))


def test_a_trial_goes_on_from_a_trial(names):
    (state,) = save(names, 4, base=TINY)
    # With `metadata = false` its LoRA does not say what it was trained on.
    save_lora(*names.lora_files(), None)
    assert start(names, miniature=True).state.path == state


def test_a_real_training_goes_on_from_a_real_one(names):
    (state,) = save(names, 4, base=REAL)
    save_lora(*names.lora_files(), TINY)
    assert start(names).state.path == state


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("left", ["a state", "a LoRA", "a LoRA that says nothing", "an earlier LoRA beside a trial"])
def test_a_trial_touches_nothing_of_a_real_training(names, left, resume):
    (lora,) = names.lora_files()
    if left == "a state":
        (real,) = save(names, 4, base=REAL)
        save_lora(lora, TINY)
    elif left == "a LoRA":
        real = save_lora(lora, REAL)
    elif left == "a LoRA that says nothing":
        save_lora(lora, None)
        real = f"{lora}: does not say what it was trained on"
    else:
        save(names, 4, base=TINY)
        (earlier,) = names.lora_files(4)
        real = save_lora(earlier, REAL)
    with pytest.raises(UsageError, match=r"(is|may be) a real training, and a trial in miniature") as caught:
        start(names, resume=resume, miniature=True)
    (problem,) = caught.value.problems
    assert problem.where == (str(real),)
    assert "another `--output-name`" in problem.fix


def damage(names, step, base, *, whole_numbers):
    """Save a state and damage it; without ``whole_numbers`` it no longer says what it was trained on."""
    (state,) = save(names, step, base=base)
    lost = "lora.safetensors" if whole_numbers else "state.json"
    (state / lost).unlink()
    return f"{state}: `{lost}` is missing"


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("beside_a_trial", [True, False])
@pytest.mark.parametrize(("base", "whole_numbers"), [(REAL, True), (TINY, False)])
def test_a_trial_touches_no_damaged_state_of_a_real_training(names, resume, beside_a_trial, base, whole_numbers):
    """Its files may be put back; one that cannot say what it was trained on may be a real one."""
    told = damage(names, 6, base, whole_numbers=whole_numbers)
    if beside_a_trial:
        save(names, 4, base=TINY)
    with pytest.raises(UsageError, match=r"(is|may be) a real training, and a trial in miniature") as caught:
        start(names, resume=resume, miniature=True)
    assert caught.value.problems[0].where == (told,)


def test_a_trial_whose_own_states_are_damaged_begins_again(names):
    damage(names, 6, TINY, whole_numbers=True)
    with pytest.raises(UsageError, match="none of the training states of `kyla` is whole"):
        start(names, miniature=True)
    assert start(names, resume=False, miniature=True).state is None


def test_a_real_training_does_not_replace_its_damaged_states_because_a_trial_left_whole_ones(names):
    save(names, 4, base=TINY)
    told = damage(names, 6, REAL, whole_numbers=True)
    with pytest.raises(UsageError, match="none of the training states of `kyla` is whole") as caught:
        start(names)
    assert caught.value.problems[0].where == (told,)


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


def test_a_new_start_names_the_lora_files_of_the_earlier_run_and_its_states_remember_them(names):
    stale = save_lora(names.folder / "kyla-step00000009.safetensors", REAL)
    names.lora_files()[0].touch()
    (left,) = [problem for problem in start(names, resume=False).warnings if "stay beside" in problem.what]
    assert left.where == (str(stale),)
    assert files_of_before(None, names) == {stale.name}
    numbers = {"settings": {FILES_OF_BEFORE: [stale.name]}}
    own = save_lora(names.folder / "kyla-step00000004.safetensors", REAL)
    save_state(names.folder, "kyla", TrainingState(4, numbers, {"lora": {"a": torch.ones(2)}}), keep_last=None)
    before = files_of_before(start(names).state, names)
    assert names.earlier_files(without=before) == [(4, own)]
    assert [each.name for each in saved_loras(names)] == [own.stem, "kyla"]
