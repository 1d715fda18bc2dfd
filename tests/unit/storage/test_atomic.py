"""storage/atomic.py: a file is there whole or not at all."""

import errno
import fcntl
import os
import stat

import pytest

from blissmask.errors import MachineError
from blissmask.storage import atomic


def test_published_file_holds_what_was_written(tmp_path):
    atomic.write_bytes(tmp_path / "new" / "a.bin", b"abc")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"abc"


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    atomic.write_text(target, "old")

    def write_and_fail() -> None:
        with atomic.publishing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_and_fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_becomes_a_machine_error_without_leftovers(tmp_path, number):
    def write() -> None:
        with atomic.publishing(tmp_path / "a.bin"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(MachineError, match="no space left"):
        write()
    assert os.listdir(tmp_path) == []


def test_a_drive_that_takes_no_file_of_this_size_is_not_called_full(tmp_path):
    def write() -> None:
        with atomic.publishing(tmp_path / "a.bin"):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    with pytest.raises(MachineError, match="takes no file of this size") as refusal:
        write()
    assert "free some space" not in refusal.value.as_one().fix
    assert os.listdir(tmp_path) == []


def test_failing_rename_becomes_a_machine_error_without_leftovers(tmp_path, monkeypatch):
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(MachineError, match="Input/output error"):
        atomic.write_bytes(tmp_path / "a.bin", b"abc")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_drive_that_cannot_sync_is_written_to(tmp_path, monkeypatch, code):
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    atomic.write_bytes(tmp_path / "a.bin", b"abc")
    assert (tmp_path / "a.bin").read_bytes() == b"abc"


def test_a_file_is_synced_through_a_descriptor_that_may_write(tmp_path, monkeypatch):
    synced = {}

    def look(descriptor: int) -> None:
        synced[stat.S_ISDIR(os.fstat(descriptor).st_mode)] = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE

    monkeypatch.setattr(os, "fsync", look)
    atomic.write_bytes(tmp_path / "a.bin", b"abc")
    assert synced == {False: os.O_WRONLY, True: os.O_RDONLY}


def test_symbolic_link_is_replaced_not_written_through(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    link = tmp_path / "out" / "a.txt"
    link.parent.mkdir()
    link.symlink_to(outside)
    atomic.write_text(link, "new")
    assert outside.read_text() == "mine"
    assert not link.is_symlink()
    assert link.read_text() == "new"


def test_permissions_follow_the_umask(tmp_path):
    earlier = os.umask(0o027)
    try:
        atomic.write_bytes(tmp_path / "a.bin", b"abc")
    finally:
        os.umask(earlier)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_longest_file_name_can_be_published(tmp_path):
    name = "é" * 127 + "x"  # 255 bytes
    atomic.write_bytes(tmp_path / name, b"abc")
    assert (tmp_path / name).read_bytes() == b"abc"


def test_sweep_removes_our_leftovers_and_nothing_else(tmp_path):
    ours = tmp_path / ".a.png.0123456789ab.blissmask-part"
    foreign = [tmp_path / ".hidden", tmp_path / "a.part", tmp_path / ".a.png.xyz.blissmask-part"]
    for path in [ours, *foreign]:
        path.write_bytes(b"")
    assert atomic.sweep(tmp_path) == 1
    assert not ours.exists()
    assert all(path.exists() for path in foreign)
