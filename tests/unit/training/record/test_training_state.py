"""Training states: whole or invisible, and an optimiser that comes back as it was."""

import errno
import json
import os
import re
import shutil

import pytest
import torch

from blissmask.errors import CacheError, MachineError
from blissmask.storage import held_folders
from blissmask.training.optim.optimizer_state import pack_optimizer, unpack_optimizer
from blissmask.training.record.states import faults
from blissmask.training.record.states import save as saving_states
from blissmask.training.record.states.find import find_states
from blissmask.training.record.states.load import load_state, restore_parameters
from blissmask.training.record.states.replace import remove_states
from blissmask.training.record.states.save import TrainingState, save_state


def state(step):
    return TrainingState(step, {"note": "hello"}, {"lora": {"a": torch.full((2, 3), float(step))}})


def save(folder, step, *, keep_last=2):
    return save_state(folder, "kyla", state(step), keep_last=keep_last)


def test_a_state_comes_back_as_it_was_saved(tmp_path):
    found = load_state(save(tmp_path, 7))
    assert (found.step, found.numbers["note"]) == (7, "hello")
    assert torch.equal(found.tensors()["lora"]["a"], torch.full((2, 3), 7.0))


def test_a_state_that_does_not_name_its_files_has_those_that_lie_there(tmp_path):
    saved = save(tmp_path, 7)
    (saved / "state.json").write_text('{"step": 7}', encoding="utf-8")
    manifest = faults.describe(saved, ["lora.safetensors", "state.json"])
    (saved / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert torch.equal(load_state(saved).tensors()["lora"]["a"], torch.full((2, 3), 7.0))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncate", r"`lora.safetensors` has \d+ bytes, and was written with \d+"),
        ("delete", "`lora.safetensors` is missing"),
        ("alter", "`lora.safetensors` has other bytes than were written"),
        ("no manifest", "`manifest.json` cannot be read: No such file or directory"),
        ("pipe", "`manifest.json` cannot be read: it is a pipe, not an ordinary file"),
        ("add", "`stray.safetensors` does not belong to it"),
        ("strike out", "`lora.safetensors` is missing"),
        ("no folder", "`kyla-step00000002-state` cannot be read: Not a directory"),
    ],
)
def test_a_state_that_is_not_whole_is_passed_over_for_a_reason(tmp_path, damage, said):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    tensors = newest / "lora.safetensors"
    match damage:
        case "truncate":
            tensors.write_bytes(tensors.read_bytes()[:-1])
        case "delete":
            tensors.unlink()
        case "alter":
            data = bytearray(tensors.read_bytes())
            data[-1] ^= 1
            tensors.write_bytes(data)
        case "no manifest":
            (newest / "manifest.json").unlink()
        case "pipe":
            (newest / "manifest.json").unlink()
            os.mkfifo(newest / "manifest.json")
        case "add":
            (newest / "stray.safetensors").write_bytes(b"")
        case "strike out":
            tensors.unlink()
            manifest = faults.describe(newest, ["state.json"])
            (newest / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        case "no folder":
            shutil.rmtree(newest)
            newest.write_bytes(b"")
    found = find_states(tmp_path, "kyla")
    assert [step for step, _ in found.whole] == [1]
    assert list(found.damaged) == [newest]
    assert re.fullmatch(said, found.damaged[newest])


@pytest.mark.parametrize("name", [".DS_Store", "._lora.safetensors", "Thumbs.db", "desktop.ini"])
def test_a_state_that_somebody_looked_at_is_whole(tmp_path, name):
    path = save(tmp_path, 1)
    (path / name).write_bytes(b"?")
    assert find_states(tmp_path, "kyla").newest == path
    assert list(load_state(path).tensors()) == ["lora"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize(
    ("call", "file"), [("read_text", "manifest.json"), ("file_sha256", "lora.safetensors"), ("Path.iterdir", "")]
)
def test_a_drive_that_fails_is_an_error_and_no_damage(tmp_path, monkeypatch, number, call, file):
    path = save(tmp_path, 1)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(f"{faults.__name__}.{call}", fail)
        with pytest.raises(MachineError, match=f"cannot be read: {os.strerror(number)}") as caught:
            find_states(tmp_path, "kyla")
        # The states that are there are looked at to make room, too: that must not cost the one that is saved.
        if call == "read_text":
            save(tmp_path, 2, keep_last=1)
    assert caught.value.problems[0].where == (str(path / file if file else tmp_path),)


def test_a_drive_that_fails_under_the_numbers_of_a_state_is_no_damage_either(tmp_path, monkeypatch):
    path = save(tmp_path, 1)

    def fail(file):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))

    monkeypatch.setattr("blissmask.training.record.states.load.read_text", fail)
    with pytest.raises(MachineError, match="Input/output error") as caught:
        load_state(path)
    assert caught.value.problems[0].where == (str(path / "state.json"),)


def test_a_state_that_vanishes_after_the_plan_is_named(tmp_path):
    found = load_state(save(tmp_path, 1))
    shutil.rmtree(found.path)
    with pytest.raises(CacheError, match=r"changed since the run was planned: .*No such file") as caught:
        found.tensors()
    assert caught.value.problems[0].where == (str(found.path),)


def test_states_of_another_output_are_not_ours(tmp_path):
    save_state(tmp_path, "kyla-low", state(5), keep_last=2)
    save_state(tmp_path, "ky[l]a", state(6), keep_last=2)
    assert find_states(tmp_path, "kyla").whole == ()
    assert [step for step, _ in find_states(tmp_path, "ky[l]a").whole] == [6]


def test_a_save_that_fails_leaves_the_older_states_and_no_leftovers(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving_states.atomic, "write_text", full)
    with pytest.raises(MachineError, match="No space left"):
        save(tmp_path, 2)
    assert [step for step, _ in find_states(tmp_path, "kyla").whole] == [1]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_save_into_a_folder_that_is_moved_leaves_nothing_half_made_there(tmp_path, monkeypatch):
    out, moved = tmp_path / "out", tmp_path / "moved"
    out.mkdir()
    genuine = saving_states._write_files

    def write_then_move(*arguments):
        genuine(*arguments)
        out.rename(moved)

    monkeypatch.setattr(saving_states, "_write_files", write_then_move)
    with held_folders.holding(out):
        with pytest.raises(MachineError):
            save(out, 1)
        assert list(moved.iterdir()) == []
        moved.rename(out)


def test_an_old_state_that_may_not_be_removed_costs_one_try_and_no_more(tmp_path, monkeypatch):
    save(tmp_path, 9)
    genuine = shutil.rmtree

    def closed(path, **options):
        if "step00000009" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        genuine(path, **options)

    monkeypatch.setattr(shutil, "rmtree", closed)
    with pytest.raises(MachineError, match="Permission denied"):
        save_state(tmp_path, "kyla", state(2), keep_last=2, anew=True)
    # A training tries again.
    save_state(tmp_path, "kyla", state(2), keep_last=None)
    assert [step for step, _ in find_states(tmp_path, "kyla").whole] == [2]


def test_older_states_go_only_after_the_new_one_is_whole(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert [step for step, _ in find_states(tmp_path, "kyla").whole] == [2, 3]


def test_a_run_that_starts_anew_replaces_the_earlier_states_only_by_a_whole_one(tmp_path, monkeypatch):
    save(tmp_path, 7)
    save(tmp_path, 9)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(saving_states.atomic, "write_text", full)
        with pytest.raises(MachineError, match="No space left"):
            save_state(tmp_path, "kyla", state(2), keep_last=2, anew=True)
    assert [step for step, _ in find_states(tmp_path, "kyla").whole] == [7, 9]
    save_state(tmp_path, "kyla", state(2), keep_last=2, anew=True)
    assert [step for step, _ in find_states(tmp_path, "kyla").whole] == [2]


def test_removing_states_takes_damaged_ones_and_leftovers_too(tmp_path):
    (save(tmp_path, 1) / "manifest.json").unlink()
    shutil.copytree(save(tmp_path, 2), tmp_path / ".kyla-step00000003-state.blissmask-state-part")
    remove_states(tmp_path, "kyla")
    assert list(tmp_path.iterdir()) == []


class WithTable(torch.optim.SGD):
    """Keeps what it remembers in a table of the state, as bitsandbytes does."""

    def state_dict(self):
        state = super().state_dict()
        return {**state, "state": {index: {"table": {**values, "bits": 8}} for index, values in state["state"].items()}}

    def load_state_dict(self, state_dict):
        tables = {index: values["table"] for index, values in state_dict["state"].items()}
        assert all(table.pop("bits") == 8 for table in tables.values())
        super().load_state_dict({**state_dict, "state": tables})


@pytest.mark.parametrize(
    "make",
    [
        torch.optim.AdamW,
        torch.optim.Adam,
        lambda p: WithTable(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    ],
)
def test_an_optimiser_continues_bit_for_bit_through_json(make):
    def steps(optimizer, parameter, numbers):
        for number in numbers:
            parameter.grad = torch.sin(torch.arange(4.0) + number)
            optimizer.step()

    whole = torch.nn.Parameter(torch.ones(4))
    optimizer = make([whole])
    steps(optimizer, whole, range(6))
    part = torch.nn.Parameter(torch.ones(4))
    optimizer = make([part])
    steps(optimizer, part, range(3))
    tensors, numbers = pack_optimizer(optimizer)
    resumed = torch.nn.Parameter(part.detach().clone())
    fresh = make([resumed])
    unpack_optimizer(fresh, tensors, json.loads(json.dumps(numbers)))
    steps(fresh, resumed, range(3, 6))
    assert torch.equal(resumed, whole)


def test_parameters_of_another_lora_are_refused():
    parameter = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(CacheError, match="another LoRA"):
        restore_parameters([("a", parameter)], {"b": torch.ones(2)})
    with pytest.raises(CacheError, match="another size"):
        restore_parameters([("a", parameter)], {"a": torch.ones(3)})
