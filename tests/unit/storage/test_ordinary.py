"""storage/ordinary.py: pipes, sockets and devices are refused by name, and at once."""

import errno
import os
import socket
from pathlib import Path

import pytest

from blissmask.storage.ordinary import (
    open_ordinary,
    read_text,
    refuse_special,
    refuse_special_in,
    what_is,
    why_no_file,
)


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def test_a_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffkyla\r\n".encode())
    (tmp_path / "link").symlink_to("a.txt")
    assert read_text(tmp_path / "link", encoding="utf-8-sig") == "kyla\n"


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    with pytest.raises(OSError, match="it is a pipe, not an ordinary file"):
        open_ordinary(pipe(tmp_path))


def test_a_device_is_refused_also_behind_a_link(tmp_path):
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="it is a device"):
        open_ordinary(tmp_path / "zero.png")


def test_a_socket_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="it is a socket"):
            open_ordinary(tmp_path / "socket")


def test_a_pipe_that_takes_the_place_of_a_file_before_it_is_opened_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"a")
    genuine = os.open

    def swapped(name, *arguments, **options):
        path.unlink()
        os.mkfifo(path)
        return genuine(name, *arguments, **options)

    monkeypatch.setattr(os, "open", swapped)
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="it is a pipe"):
        open_ordinary(path)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_file_that_the_kernel_makes_up_is_refused_also_behind_a_link(tmp_path):
    if not os.path.ismount("/proc"):
        pytest.skip("this machine has no /proc of its own")
    (tmp_path / "a.png").symlink_to("/proc/self/environ")
    with pytest.raises(OSError, match="it is made up by the kernel"):
        open_ordinary(tmp_path / "a.png")


def test_a_link_in_a_circle_is_called_that(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="it is a link that leads in a circle"):
        open_ordinary(tmp_path / "loop")


def test_what_stands_at_a_path_is_said_in_words(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("nowhere")
    pipe(tmp_path)
    said = {name: (what_is(tmp_path / name), why_no_file(tmp_path / name)) for name in ("a", "loop", "lost", "pipe")}
    assert said == {
        "a": ("a file", ""),
        "loop": ("a link that leads in a circle", "the file cannot be read: it is a link that leads in a circle"),
        "lost": ("a link that leads nowhere", "the file cannot be read: it is a link that leads nowhere"),
        "pipe": ("a pipe", "the file cannot be read: it is a pipe, not an ordinary file"),
    }
    assert (what_is(tmp_path), why_no_file(tmp_path)) == (
        "a folder",
        "the file cannot be read: it is a folder, not a file",
    )
    assert (what_is(tmp_path / "gone"), why_no_file(tmp_path / "gone")) == ("", "there is no such file")


def test_a_folder_is_no_file_and_nothing_special(tmp_path):
    with pytest.raises(IsADirectoryError):
        open_ordinary(tmp_path)
    refuse_special(tmp_path)


def test_a_pipe_among_the_files_of_a_model_folder_is_found(tmp_path):
    Path(tmp_path, "config.json").write_text("{}")
    refuse_special_in(tmp_path)
    pipe(tmp_path)
    with pytest.raises(OSError, match="it is a pipe"):
        refuse_special_in(tmp_path)


def test_a_path_that_may_not_be_looked_at_is_not_said_to_be_anything(tmp_path, monkeypatch):
    assert what_is(tmp_path / ("a" * 300)) == ""
    (tmp_path / "file").write_bytes(b"a")
    (tmp_path / "through").symlink_to("file/a.png")
    assert what_is(tmp_path / "through") == "a link that leads nowhere"

    def refused(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # Root, who runs the tests in containers, may look everywhere.
    monkeypatch.setattr(Path, "stat", refused)
    assert what_is(tmp_path / "through") == ""
