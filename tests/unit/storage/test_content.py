"""The one hash of file contents."""

import hashlib
import os
from pathlib import Path

import pytest

from blissmask.errors import MediaError
from blissmask.storage.content import content_hash


def test_the_hash_is_128_bits_of_blake2_over_all_bytes(tmp_path):
    path = tmp_path / "file"
    content = bytes(range(256)) * 10_000
    path.write_bytes(content)
    assert content_hash(path) == hashlib.blake2b(content, digest_size=16).hexdigest()


def test_an_untouched_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "film"
    path.write_bytes(b"frames")
    first = content_hash(path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("read again"))
    assert content_hash(path) == first


def test_a_file_rewritten_with_its_old_size_and_time_is_read_again(tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(b"one")
    before, first = path.stat(), content_hash(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert content_hash(path) != first


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(MediaError) as raised:
        content_hash(tmp_path / "gone")
    assert raised.value.problems[0].where == (str(tmp_path / "gone"),)
