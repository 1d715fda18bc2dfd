"""storage/lock.py: one writer per folder."""

import subprocess
import sys
import textwrap

import pytest

from blissmask.errors import BusyError
from blissmask.storage.lock import writing_to

HOLD = textwrap.dedent(
    """
    import sys, pathlib
    from blissmask.storage.lock import writing_to
    with writing_to([pathlib.Path(sys.argv[1])], command="blissmask cache"):
        print("held", flush=True)
        sys.stdin.read()
    """
)


def hold(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def test_second_process_is_refused_and_told_who_writes(tmp_path):
    process = hold(tmp_path)
    try:
        with pytest.raises(BusyError) as refusal, writing_to([tmp_path], command="blissmask train"):
            pass
    finally:
        process.communicate()
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
