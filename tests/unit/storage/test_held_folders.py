"""storage/held_folders.py: an output folder that vanishes is an error, and not made anew in silence."""

import shutil

import pytest

from blissmask.errors import MachineError
from blissmask.storage import atomic, held_folders
from blissmask.storage.lock import writing_to


def test_nothing_is_published_into_a_folder_that_is_gone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with held_folders.holding(out):
        atomic.write_bytes(out / "a.png", b"a")
        out.rename(tmp_path / "moved")
        with pytest.raises(MachineError, match="the output folder is gone"):
            atomic.write_bytes(out / "b.png", b"b")
        assert not out.exists()
        (tmp_path / "moved").rename(out)


def test_what_is_half_written_is_removed_from_a_folder_wherever_it_was_moved(tmp_path):
    out, moved = tmp_path / "out", tmp_path / "moved"
    out.mkdir()

    def write_and_move():
        with atomic.publishing(out / "clip" / "a.png") as part:
            part.write_bytes(b"a")
            out.rename(moved)

    with held_folders.holding(out):
        with pytest.raises(MachineError, match="the output folder is gone"):
            write_and_move()
        assert list((moved / "clip").iterdir()) == []
        moved.rename(out)


def test_a_folder_that_vanished_after_the_last_file_is_an_error_at_the_end(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(MachineError, match="the output folder is gone"), writing_to([out], command="blissmask masks"):
        out.rename(tmp_path / "moved")


def test_another_folder_of_the_same_name_is_not_written_to(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with held_folders.holding(out):
        out.rename(tmp_path / "moved")
        out.mkdir()
        with pytest.raises(MachineError, match="replaced by another one"):
            atomic.write_bytes(out / "clip" / "0.png", b"a")
        out.rmdir()
        (tmp_path / "moved").rename(out)


def test_a_folder_made_again_is_accepted_where_that_is_wanted(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with held_folders.holding(out):
        shutil.rmtree(out)
        assert not held_folders.is_there(out)
        out.mkdir()
        held_folders.accept_anew(out)
        atomic.write_bytes(out / "a.png", b"a")


def test_other_folders_are_written_to_as_before(tmp_path):
    (tmp_path / "out").mkdir()
    with held_folders.holding(tmp_path / "out"):
        atomic.write_bytes(tmp_path / "sheets" / "sheet.png", b"a")
    assert (tmp_path / "sheets" / "sheet.png").exists()


def test_a_link_in_the_place_of_the_folder_is_not_written_through(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    with held_folders.holding(out):
        out.rename(tmp_path / "moved")
        out.symlink_to(other)
        with pytest.raises(MachineError, match="replaced by another one"):
            atomic.write_bytes(out / "clip" / "0.png", b"a")
        out.unlink()
        (tmp_path / "moved").rename(out)
    assert list(other.iterdir()) == []


def test_a_link_that_leads_to_the_folder_and_is_turned_elsewhere_is_told(tmp_path):
    out, real, other = (tmp_path / name for name in ("out", "real", "other"))
    real.mkdir()
    other.mkdir()
    out.symlink_to(real)
    with writing_to([out], command="blissmask masks"):
        atomic.write_bytes(out / "a.png", b"a")
        out.unlink()
        out.symlink_to(other)
        with pytest.raises(MachineError, match="replaced by another one"):
            atomic.write_bytes(out / "b.png", b"b")
        out.unlink()
        out.symlink_to(real)
    assert list(other.iterdir()) == []
    assert (real / "a.png").exists()


def test_a_folder_that_moved_to_another_drive_and_left_a_link_is_accepted_where_that_is_wanted(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    with held_folders.holding(out):
        out.rename(tmp_path / "moved")
        other.mkdir()
        out.symlink_to(other)
        assert not held_folders.is_there(out)
        held_folders.accept_anew(out)
        atomic.write_bytes(out / "a.png", b"a")
    assert (other / "a.png").exists()


def test_a_folder_whose_name_goes_up_from_where_a_link_leads_is_held(tmp_path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "lnk").symlink_to(tmp_path / "real" / "deep")
    out = tmp_path / "lnk" / ".." / "out"
    with writing_to([out], command="blissmask masks"):
        atomic.write_bytes(out / "a.png", b"a")
        assert held_folders.is_there(out)
    assert (tmp_path / "real" / "out" / "a.png").exists()
