"""How many bytes a video lacks by its own account, container by container."""

import struct

import pytest

from blissmask.media.container import missing_bytes
from tests.builders.videos import cut_off, grey_video


def box(name, content=b"", *, claims=None):
    return struct.pack(">I4s", claims or 8 + len(content), name) + content


def long_box(name, content):
    return struct.pack(">I4sQ", 1, name, 16 + len(content)) + content


def ebml(*, segment_size):
    return b"\x1a\x45\xdf\xa3\x81x" + b"\x18\x53\x80\x67" + segment_size


def riff(size, content, kind=b"AVI "):
    return b"RIFF" + struct.pack("<I", size) + kind + content


@pytest.fixture
def missing(tmp_path):
    def measure(content):
        (tmp_path / "video").write_bytes(content)
        return missing_bytes(tmp_path / "video")

    return measure


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_a_whole_video_lacks_nothing(tmp_path, suffix):
    assert missing_bytes(grey_video(tmp_path / f"a{suffix}", 12)) == 0


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_what_was_cut_off_is_missing_to_the_byte(tmp_path, suffix):
    path = grey_video(tmp_path / f"a{suffix}", 12)
    data = path.read_bytes()
    # The index of an MP4 stands at its end, so its pictures must be cut into for the file to be known as one that lacks something.
    end = data.index(b"mdat") + 50 if suffix == ".mp4" else len(data) // 2
    path.write_bytes(data[:end])
    whole = data.index(b"moov") - 4 if suffix == ".mp4" else len(data)
    assert missing_bytes(path) == whole - end


def test_pictures_that_reach_to_the_end_of_the_file_have_no_length(missing):
    assert missing(box(b"ftyp", b"isom") + struct.pack(">I4s", 0, b"mdat") + b"x" * 50) == 0


def test_lengths_of_more_than_four_gigabytes_are_read(missing):
    assert missing(box(b"ftyp", b"isom") + long_box(b"mdat", b"x" * 200)[:-100]) == 100


def test_rubbish_behind_the_last_box_is_no_missing_part(missing):
    assert missing(box(b"ftyp", b"isom") + box(b"mdat", b"x" * 50) + b"rubbish rubbish") == 0


def test_a_matroska_stream_does_not_say_how_long_it_is(missing):
    assert missing(ebml(segment_size=b"\x01" + b"\xff" * 7) + b"x" * 100) == 0


def test_a_matroska_file_says_how_long_it_is(missing):
    assert missing(ebml(segment_size=b"\x40\xc8") + b"x" * 100) == 100


def test_every_part_of_a_long_avi_counts(missing):
    assert missing(riff(104, b"x" * 100) + riff(204, b"x" * 100, b"AVIX")) == 100


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_an_avi_whose_writer_died_does_not_say_how_long_it_is(missing, size):
    assert missing(riff(size, b"x" * 100)) == 0


def test_writers_that_forget_a_header_lack_nothing(missing):
    assert missing(riff(104 + 8, b"x" * 100)) == 0


@pytest.mark.parametrize(
    "content", [b"", b"ftyp", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x00", b"RIFF", b"any other container"]
)
def test_what_states_no_length_lacks_nothing(missing, content):
    assert missing(content) == 0


def test_half_a_file_is_enough_to_know(tmp_path):
    assert missing_bytes(cut_off(grey_video(tmp_path / "a.avi", 12))) > 100
