"""The one hash of file contents."""

import hashlib

import pytest

from blissmask.errors import MediaError
from blissmask.storage.content import content_hash


def test_the_hash_is_128_bits_of_blake2_over_all_bytes(tmp_path):
    path = tmp_path / "file"
    content = bytes(range(256)) * 10_000
    path.write_bytes(content)
    assert content_hash(path) == hashlib.blake2b(content, digest_size=16).hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(MediaError) as raised:
        content_hash(tmp_path / "gone")
    assert raised.value.problems[0].where == (str(tmp_path / "gone"),)
