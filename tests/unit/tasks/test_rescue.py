"""tasks/train/saving/rescue.py: a save without room is tried again while somebody may free some, and ends in a second place."""

import errno
import os
import tempfile

import pytest

from blissmask.config.sections.saving_section import SavingSection
from blissmask.errors import MachineError, UsageError
from blissmask.events import Noted, Warned
from blissmask.storage import held_folders
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.saving import rescue
from blissmask.tasks.train.saving.rescue import Rescue, check_rescue_dir, save_patiently
from blissmask.training.record.saving import Outputs
from tests.builders.recorder import Recorder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(rescue, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(rescue, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(rescue, "_LOOK_EVERY", 0.01)


def no_room(number=errno.ENOSPC):
    error = MachineError("no space left to write", where=["out/lora.safetensors"])
    error.__cause__ = OSError(number, os.strerror(number))
    return error


class Disk:
    """A disk that fails the first ``failures`` saves."""

    def __init__(self, failures, error=None):
        self.failures, self.error, self.tries = failures, error, 0

    def save(self):
        self.tries += 1
        if self.tries <= self.failures:
            raise self.error or no_room()


def run(disk, tmp_path, *, context=None, elsewhere=None):
    def save_elsewhere(folder):
        if elsewhere is not None:
            raise elsewhere
        (folder / "lora-step00000006-state").mkdir(parents=True)
        return folder / "lora-step00000006-state"

    second = Rescue(tmp_path / "second", save_elsewhere)
    outputs = Outputs(tmp_path / "out", "lora", ("lora",))
    save_patiently(disk.save, second, outputs, context or RunContext(Recorder()), done=6)


def test_a_save_that_works_says_nothing(tmp_path):
    recorder = Recorder()
    run(Disk(0), tmp_path, context=RunContext(recorder))
    assert recorder.events == []


def test_a_save_without_room_says_so_waits_and_is_tried_until_there_is_room(tmp_path):
    recorder, disk = Recorder(), Disk(3)
    run(disk, tmp_path, context=RunContext(recorder))
    assert disk.tries == 4
    warned, noted = recorder.events
    assert isinstance(warned, Warned)
    assert "the training waits to be saved after step 6: no space left to write" in warned.problem.what
    assert isinstance(noted, Noted)
    assert not (tmp_path / "second").exists()


def test_without_room_in_time_the_state_is_in_the_second_place_which_is_named(tmp_path):
    with pytest.raises(MachineError) as refusal:
        run(Disk(1000), tmp_path)
    problem = refusal.value.as_one()
    assert "its state is in a second place" in problem.what
    assert f"the state: {tmp_path / 'second' / 'lora-step00000006-state'}" in problem.where
    assert str(tmp_path / "out") in problem.fix


def test_a_second_place_that_holds_something_gets_a_folder_of_its_own(tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "of another run").touch()
    with pytest.raises(MachineError):
        run(Disk(1000), tmp_path)
    [state] = (tmp_path / "second").glob("blissmask-lora-*/lora-step00000006-state")
    assert state.is_dir()


@pytest.mark.parametrize("number", [errno.EFBIG, errno.EISDIR, errno.ENAMETOOLONG])
def test_what_stays_as_it_is_is_not_waited_for(tmp_path, number):
    disk = Disk(1000, no_room(number))
    with pytest.raises(MachineError, match="second place"):
        run(disk, tmp_path)
    assert disk.tries == 1


def test_a_signal_to_stop_ends_the_waiting_after_one_more_try(tmp_path, monkeypatch):
    monkeypatch.setattr(rescue, "PATIENCE_SECONDS", 600.0)
    disk = Disk(1000)
    with pytest.raises(MachineError, match="second place"):
        run(disk, tmp_path, context=RunContext(Recorder(), stop_signal=lambda: 15))
    assert disk.tries == 2


def test_a_failure_in_both_places_names_both(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(MachineError) as refusal:
        run(Disk(1000), tmp_path, elsewhere=MachineError("no space left to write", where=["/tmp/state"]))
    assert "nor in a second place" in refusal.value.as_one().what
    problem = refusal.value.as_one()
    # The named place, then the system's folder for temporary files.
    assert problem.where == ("out/lora.safetensors", "/tmp/state", "/tmp/state")
    assert "earlier training states" not in problem.fix
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


def test_earlier_states_are_spoken_of_where_there_are_some(tmp_path):
    (tmp_path / "out" / "lora-step00000004-state").mkdir(parents=True)
    with pytest.raises(MachineError) as refusal:
        run(Disk(1000), tmp_path, elsewhere=no_room())
    assert "earlier training states are kept" in refusal.value.as_one().fix


def test_where_the_second_place_is_none_the_state_is_in_the_folder_for_temporary_files(tmp_path, monkeypatch):
    (tmp_path / "second").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(MachineError) as refusal:
        run(Disk(1000), tmp_path)
    [state] = (tmp_path / "temporary").glob("blissmask-lora-*/lora-step00000006-state")
    problem = refusal.value.as_one()
    assert "nor in a second place: File exists; its state is in a third" in problem.what
    assert problem.where == ("out/lora.safetensors", str(tmp_path / "second"), f"the state: {state}")


def test_a_file_too_large_for_the_drive_is_not_mended_by_room(tmp_path):
    with pytest.raises(MachineError) as refusal:
        run(Disk(1000, no_room(errno.EFBIG)), tmp_path)
    assert refusal.value.as_one().fix.startswith("choose another `--output-dir`")


@pytest.mark.parametrize("place", ["file", "file/below", "out", "out/below", "link", "/proc/nope"])
def test_a_second_place_that_cannot_be_one_is_refused_in_the_plan(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("out")
    with pytest.raises(UsageError, match="`rescue_dir` is no second place") as refusal:
        check_rescue_dir(SavingSection(output_dir="out", rescue_dir=place))
    assert refusal.value.as_one().where == (place,)


def test_a_second_place_need_not_exist_and_is_not_made_in_the_plan(tmp_path):
    check_rescue_dir(SavingSection(output_dir=tmp_path / "out", rescue_dir=tmp_path / "new" / "second"))
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_outside_of_a_write_is_waited_for_too(tmp_path):
    disk = Disk(1, OSError(errno.EIO, os.strerror(errno.EIO), "out"))
    run(disk, tmp_path)
    assert disk.tries == 2


def test_a_drive_that_comes_back_is_written_to_again(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "lora-log.jsonl").write_text("")
    disk = Disk(1)

    def save_where_held():
        held_folders.check(out / "lora.safetensors")

    with held_folders.holding(out):
        out.rename(tmp_path / "away")
        out.mkdir()
        (out / "lora-log.jsonl").write_text("")
        disk.save = save_where_held
        run(disk, tmp_path)
