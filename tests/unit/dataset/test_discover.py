"""What lies in a folder, and what is said of what is not read."""

import pytest

from blissmask.dataset.discover import find_media, unread_warning
from blissmask.errors import InputError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_files_of_kinds_that_are_not_read_are_named_unless_they_lie_there_in_another_form(tmp_path):
    touch(tmp_path, "a.jpg", "a.heic", "b.HEIC", "c.tif", "d.3gp", "notes.txt")
    media = find_media(tmp_path)
    [warning] = unread_warning(tmp_path, media)
    assert warning.what == "2 files are of kinds that are not read, and left out"
    assert warning.where == (str(tmp_path / "b.HEIC"), str(tmp_path / "c.tif"))
    assert len(unread_warning(tmp_path, media, videos=True)[0].where) == 3
    assert unread_warning(touch(tmp_path / "fine", "a.jpg"), []) == []


def test_an_empty_folder_points_to_the_sub_folder_that_has_pictures(tmp_path):
    with pytest.raises(InputError, match="no pictures in the folder") as caught:
        find_media(touch(tmp_path, "10_kyla/a.jpg", "empty/notes.txt"))
    assert caught.value.problems[0].fix == f"sub-folders are not entered; there are some in `{tmp_path / '10_kyla'}`"


def test_an_empty_folder_says_what_is_read(tmp_path):
    with pytest.raises(InputError) as caught:
        find_media(touch(tmp_path, "notes.txt"))
    assert ".jpg" in caught.value.problems[0].fix


def test_a_file_where_a_folder_is_needed_is_told_apart_from_one_that_is_missing(tmp_path):
    with pytest.raises(InputError, match="a folder is needed, and this is a file"):
        find_media(touch(tmp_path, "a.jpg") / "a.jpg")
    with pytest.raises(InputError, match="No such file"):
        find_media(tmp_path / "gone")
