"""storage/lock.py: one writer per folder."""

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from blissmask.errors import BusyError, MachineError
from blissmask.storage.lock import planning_to_write, writing_to

HOLD = textwrap.dedent(
    """
    import sys, pathlib
    from blissmask.storage.lock import writing_to
    with writing_to([pathlib.Path(sys.argv[1])], command="blissmask cache"):
        print("held", flush=True)
        sys.stdin.read()
    """
)


WITHOUT_LOCKS = (
    textwrap.dedent(
        """
        import errno, fcntl
        def flock(*_):
            raise OSError(errno.ENOLCK, "No locks available")
        fcntl.flock = flock
        """
    )
    + HOLD
)
"""On a drive without locks."""


def hold(folder, *, code=HOLD, expected=b"held\n"):
    """Return a process that writes to ``folder``, or with another ``expected`` first line has tried to."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], **streams)
    assert process.stdout.readline() == expected
    return process


def test_second_process_is_refused_and_told_who_writes(tmp_path):
    process = hold(tmp_path)
    try:
        with pytest.raises(BusyError) as refusal, writing_to([tmp_path], command="blissmask train"):
            pass
        (tmp_path / ".blissmask.lock.json").write_text("[" * 100_000)
        with pytest.raises(BusyError) as unnamed, writing_to([tmp_path], command="blissmask train"):
            pass
    finally:
        process.communicate()
    assert "has not said who it is" in unnamed.value.problems[0].where[0]
    assert refusal.value.exit_code == 4
    assert f"process {process.pid}" in refusal.value.problems[0].where[0]
    assert "`blissmask cache`" in refusal.value.problems[0].where[0]


def test_lock_of_a_killed_process_is_free(tmp_path):
    process = hold(tmp_path)
    process.kill()
    process.communicate()
    with writing_to([tmp_path], command="blissmask train"):
        pass


def test_leftovers_are_swept_once_the_lock_is_held(tmp_path):
    leftover = tmp_path / ".a.png.0123456789ab.blissmask-part"
    leftover.write_bytes(b"")
    with writing_to([tmp_path], command="blissmask masks"):
        assert not leftover.exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_drive_without_locks_gets_a_lock_file_and_a_warning(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with writing_to([tmp_path], command="blissmask cache") as locks:
        assert os.strerror(code) in locks.warnings[0].what
        assert locks.warnings[0].where == (str(tmp_path),)
        process = hold(tmp_path, expected=b"", code=WITHOUT_LOCKS)
        assert b"another blissmask is writing" in process.communicate()[1]
    with writing_to([tmp_path], command="blissmask cache"):
        pass


def test_a_lock_file_that_a_killed_process_left_is_taken_over(tmp_path):
    process = hold(tmp_path, code=WITHOUT_LOCKS)
    process.kill()
    process.communicate()
    process = hold(tmp_path, code=WITHOUT_LOCKS)
    process.communicate()
    assert process.returncode == 0


def test_a_drive_with_locks_gets_no_warning(tmp_path):
    with writing_to([tmp_path], command="blissmask cache") as locks:
        assert locks.warnings == []


def test_a_folder_that_is_not_there_is_created_when_the_plan_is_made(tmp_path):
    with planning_to_write([tmp_path / "out"], command="blissmask masks") as locks:
        assert not (tmp_path / "out").exists()
        assert not locks.complete()
        assert (tmp_path / "out" / ".blissmask.lock.json").exists()


def test_a_folder_that_appears_while_the_plan_is_made_is_told(tmp_path):
    with planning_to_write([tmp_path / "out"], command="blissmask masks") as locks:
        (tmp_path / "out").mkdir()
        assert locks.complete()


@pytest.mark.parametrize("below", ["", "cache"])
def test_no_folder_is_made_where_a_drive_belongs_that_is_not_there(tmp_path, below):
    (tmp_path / "out").symlink_to(tmp_path / "drive" / "out")
    with (
        pytest.raises(MachineError, match="cannot write to the folder: it is a link that leads nowhere") as caught,
        writing_to([tmp_path / "out" / below], command="blissmask cache"),
    ):
        pass
    assert caught.value.problems[0].where == (str(tmp_path / "out"),)
    assert not (tmp_path / "drive").exists()


@pytest.mark.parametrize(
    ("make", "kind"),
    [(Path.touch, "a file"), (os.mkfifo, "a pipe"), (lambda path: path.symlink_to(path.name), "a link that leads in")],
    ids=["file", "pipe", "circle"],
)
def test_what_stands_in_the_place_of_the_folder_is_said(tmp_path, make, kind):
    make(tmp_path / "out")
    with (
        pytest.raises(MachineError, match=f"cannot write to the folder: it is {kind}"),
        writing_to([tmp_path / "out"], command="blissmask masks"),
    ):
        pass
