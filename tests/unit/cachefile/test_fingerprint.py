"""What is fresh and what is stale, file by file and field by field."""

import os

import pytest

from blissmask.cachefile import fingerprint
from blissmask.cachefile.fingerprint import Sameness
from blissmask.cachefile.metadata import OUR_FORMAT
from blissmask.cachefile.redo import Redo, Wanted, decide, decide_text
from blissmask.errors import InputError


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"pixels")
    return path


def test_an_untouched_file_is_the_same(photo):
    assert fingerprint.compare(fingerprint.take([photo]), [photo]) is Sameness.SAME


def test_an_untouched_file_is_not_read(photo, monkeypatch):
    taken = fingerprint.take([photo])
    monkeypatch.setattr(fingerprint, "content_hash", lambda path: pytest.fail("read"))
    assert fingerprint.compare(taken, [photo]) is Sameness.SAME


def test_a_touched_file_with_the_same_content_has_moved(photo):
    taken = fingerprint.take([photo])
    os.utime(photo, ns=(1, 1))
    assert fingerprint.compare(taken, [photo]) is Sameness.MOVED


def test_other_content_of_the_same_size_is_a_change(photo):
    taken = fingerprint.take([photo])
    photo.write_bytes(b"PIXELS")
    os.utime(photo, ns=(1, 1))
    assert fingerprint.compare(taken, [photo]) is Sameness.CHANGED


def test_another_size_is_a_change(photo):
    taken = fingerprint.take([photo])
    photo.write_bytes(b"more pixels")
    assert fingerprint.compare(taken, [photo]) is Sameness.CHANGED


def test_comparing_by_content_sees_what_size_and_time_hide(photo):
    taken, state = fingerprint.take([photo]), photo.stat()
    photo.write_bytes(b"PIXELS")
    os.utime(photo, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint.compare(taken, [photo], by_content=True) is Sameness.CHANGED


def test_one_more_file_is_a_change(photo):
    assert fingerprint.compare(fingerprint.take([photo]), [photo, photo]) is Sameness.CHANGED


def test_a_file_added_to_a_folder_is_a_change(photo):
    taken = fingerprint.take([photo.parent])
    (photo.parent / "another.png").write_bytes(b"")
    assert fingerprint.compare(taken, [photo.parent]) is Sameness.CHANGED


def test_no_files_have_an_empty_fingerprint():
    assert fingerprint.compare(fingerprint.take([]), []) is Sameness.SAME


@pytest.mark.parametrize("text", ["", "?", "1:2:3 4:5:6", "::", "6:x:y"])
def test_a_fingerprint_that_is_none_is_a_change(photo, text):
    assert fingerprint.compare(text, [photo]) is Sameness.CHANGED


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        fingerprint.take([tmp_path / "none.png"])


@pytest.fixture
def frames(tmp_path):
    """Return a folder of 30 frames."""
    (tmp_path / "frames").mkdir()
    for number in range(30):
        (tmp_path / "frames" / f"{number:03}.png").write_bytes(b"frame %d" % number)
    return tmp_path / "frames"


def test_the_fingerprint_of_a_folder_does_not_grow_with_it(frames):
    assert len(fingerprint.take([frames])) < 120


def test_a_folder_whose_times_moved_has_the_same_content(frames):
    taken = fingerprint.take([frames])
    os.utime(frames / "007.png", ns=(1, 1))
    assert fingerprint.compare(taken, [frames]) is Sameness.MOVED


def test_other_content_of_a_frame_is_a_change(frames):
    taken = fingerprint.take([frames])
    (frames / "007.png").write_bytes(b"FRAME 7")
    assert fingerprint.compare(taken, [frames]) is Sameness.CHANGED


def test_another_name_of_a_frame_is_a_change_since_frames_go_by_their_names(frames):
    taken = fingerprint.take([frames])
    (frames / "007.png").rename(frames / "999.png")
    assert fingerprint.compare(taken, [frames]) is Sameness.CHANGED


def test_by_content_sees_what_sizes_and_times_of_a_folder_hide(frames):
    taken, state = fingerprint.take([frames]), (frames / "007.png").stat()
    (frames / "007.png").write_bytes(b"FRAME 7")
    os.utime(frames / "007.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint.compare(taken, [frames]) is Sameness.SAME
    assert fingerprint.compare(taken, [frames], by_content=True) is Sameness.CHANGED


def test_hidden_files_of_a_folder_do_not_count(frames):
    taken = fingerprint.take([frames])
    (frames / ".blissmask.json").write_text("{}", encoding="utf-8")
    assert fingerprint.compare(taken, [frames]) is Sameness.SAME


def test_the_fingerprint_of_a_folder_stands_beside_those_of_files(frames, photo):
    taken = fingerprint.take([photo, frames])
    assert fingerprint.compare(taken, [photo, frames]) is Sameness.SAME
    assert fingerprint.compare(taken, [frames, photo]) is Sameness.CHANGED


def test_a_folder_that_became_a_file_is_a_change(frames, photo):
    assert fingerprint.compare(fingerprint.take([frames]), [photo]) is Sameness.CHANGED
    assert fingerprint.compare(fingerprint.take([photo]), [frames]) is Sameness.CHANGED


@pytest.mark.parametrize("text", ["", "folder:", "folder:30:1:2:3", "folder:x", "1:2:3"])
def test_a_fingerprint_that_is_none_of_a_folder_is_a_change(frames, text):
    assert fingerprint.compare(text, [frames]) is Sameness.CHANGED


def test_an_empty_folder_is_what_it_was(tmp_path):
    assert fingerprint.compare(fingerprint.take([tmp_path]), [tmp_path]) is Sameness.SAME


def test_many_comparisons_list_a_folder_once(frames, monkeypatch):
    taken, listed = fingerprint.take([frames]), []
    whole = fingerprint._list
    monkeypatch.setattr(fingerprint, "_list", lambda folder: listed.append(folder) or whole(folder))
    prints = fingerprint.Prints()
    assert {prints.compare(taken, [frames]) for _ in range(20)} == {Sameness.SAME}
    assert prints.compare("another", [frames]) is Sameness.CHANGED
    assert listed == [frames]


WANTED = Wanted(latents={"vae": "v", "geometry": "g"}, mask={"mask_source": "file"}, labels={"arch": "one"})
FOUND = {**WANTED.metadata, "blissmask.format": OUR_FORMAT}


@pytest.mark.parametrize(
    ("change", "media", "mask", "redo", "reason"),
    [
        ({}, Sameness.SAME, Sameness.SAME, Redo.NOTHING, "already fresh"),
        ({}, Sameness.MOVED, Sameness.SAME, Redo.LABELS, "already fresh"),
        ({}, Sameness.SAME, Sameness.MOVED, Redo.LABELS, "already fresh"),
        ({"blissmask.arch": "another"}, Sameness.SAME, Sameness.SAME, Redo.LABELS, "already fresh"),
        ({}, Sameness.SAME, Sameness.CHANGED, Redo.MASK, "mask changed"),
        ({"blissmask.mask_source": "alpha"}, Sameness.SAME, Sameness.SAME, Redo.MASK, "mask source changed"),
        ({}, Sameness.CHANGED, Sameness.CHANGED, Redo.LATENTS, "file changed"),
        ({"blissmask.vae": "w"}, Sameness.SAME, Sameness.SAME, Redo.LATENTS, "vae changed"),
        (
            {"blissmask.vae": "w", "blissmask.geometry": "h"},
            Sameness.SAME,
            Sameness.SAME,
            Redo.LATENTS,
            "vae, geometry changed",
        ),
        ({"blissmask.format": "0"}, Sameness.SAME, Sameness.SAME, Redo.LATENTS, "made by another version"),
    ],
)
def test_as_little_as_possible_is_done(change, media, mask, redo, reason):
    assert decide({**FOUND, **change}, WANTED, media=media, mask=mask) == (redo, reason)


def test_an_entry_of_another_tool_is_made_anew():
    assert decide({"architecture": "wan"}, WANTED, media=Sameness.SAME, mask=Sameness.SAME) == (
        Redo.LATENTS,
        "made by another tool",
    )


TEXT = {"caption1": "a photo", "blissmask.format": OUR_FORMAT, "blissmask.text_encoder": "t"}


@pytest.mark.parametrize(
    ("change", "controls", "reason"),
    [
        ({}, Sameness.SAME, ""),
        ({}, Sameness.MOVED, ""),
        ({}, Sameness.CHANGED, "control pictures changed"),
        ({"caption1": "another"}, Sameness.SAME, "caption changed"),
        ({"blissmask.text_encoder": "u"}, Sameness.SAME, "text encoder changed"),
        ({"blissmask.format": "0"}, Sameness.SAME, "caption made by another tool or version"),
    ],
)
def test_a_caption_is_encoded_only_when_it_must(change, controls, reason):
    assert decide_text({**TEXT, **change}, "a photo", {"text_encoder": "t"}, controls=controls) == reason
