"""storage/seen.py: whatever happens to a file after it was seen is noticed."""

import os

import pytest

from blissmask.errors import ChangedError
from blissmask.storage.seen import NOTHING_SEEN, Seen


def write(path, text="a"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rewrite_as_old(path):
    """Write other content of the same size, and give the file its old time back."""
    times = path.stat()
    path.write_text("b")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path):
    write(path.with_name("new"), "longer").replace(path)


@pytest.mark.parametrize("change", [rewrite_as_old, replace], ids=["same size and time", "another file"])
@pytest.mark.parametrize("role", ["input", "output"])
def test_a_changed_file_is_named(tmp_path, change, role):
    path = write(tmp_path / "a.png")
    seen = Seen.now((path,)) if role == "input" else Seen.now((), path)
    seen.check()
    change(path)
    with pytest.raises(ChangedError, match="the file changed since the run was planned") as refusal:
        seen.check()
    assert refusal.value.problems[0].where == (str(path),)


def test_a_removed_file_is_named(tmp_path):
    path = write(tmp_path / "a.png")
    seen = Seen.now((path,))
    path.unlink()
    with pytest.raises(ChangedError, match="the file is gone"):
        seen.check()


def test_a_file_that_appears_where_one_is_to_be_written_is_named(tmp_path):
    seen = Seen.now((), tmp_path / "mask.png")
    seen.check()
    write(tmp_path / "mask.png")
    with pytest.raises(ChangedError, match="a file appeared here"):
        seen.check()


def test_an_output_that_became_a_link_is_named(tmp_path):
    path = write(tmp_path / "mask.png")
    seen = Seen.now((), path)
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to("elsewhere.png")
    with pytest.raises(ChangedError):
        seen.check()


def test_a_frame_that_changes_changes_its_folder_and_hidden_files_do_not(tmp_path):
    frame = write(tmp_path / "clip" / "0.png")
    seen = Seen.now((tmp_path / "clip",))
    write(tmp_path / "clip" / ".hidden")
    seen.check()
    rewrite_as_old(frame)
    with pytest.raises(ChangedError):
        seen.check()


def test_inputs_alone_can_be_checked(tmp_path):
    seen = Seen.now((write(tmp_path / "a.png"),), tmp_path / "out.png")
    write(tmp_path / "out.png")
    seen.check_inputs()


def test_what_was_not_seen_is_not_checked():
    NOTHING_SEEN.check()
