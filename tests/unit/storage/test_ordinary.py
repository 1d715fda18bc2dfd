"""storage/ordinary.py: pipes, sockets and devices are refused by name, and at once."""

import os
import socket
from pathlib import Path

import pytest

from blissmask.storage.ordinary import open_ordinary, read_text, refuse_special, refuse_special_in


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
