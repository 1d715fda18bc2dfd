"""What lies in a folder, and what is said of what is not read."""

import os

import pytest

from blissmask.dataset.discover import find_media, list_files, match_live_photos, match_masks, unread_warning
from blissmask.errors import InputError
from blissmask.media.png import write_png_grey
from tests.builders.pictures import tier_mask


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_files_of_kinds_that_are_not_read_are_named_unless_they_lie_there_in_another_form(tmp_path):
    touch(tmp_path, "a.jpg", "a.dng", "b.DNG", "c.tif", "d.3gp", "e.jfif", "notes.txt")
    media = find_media(tmp_path)
    [warning] = unread_warning(tmp_path, media)
    assert warning.what == "3 files are of kinds that are not read, and left out"
    assert warning.where == tuple(str(tmp_path / name) for name in ("b.DNG", "c.tif", "e.jfif"))
    assert len(unread_warning(tmp_path, media, videos=True)[0].where) == 4
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


def test_a_link_in_a_circle_where_a_folder_is_needed_is_called_that(tmp_path):
    (tmp_path / "photos").symlink_to("photos")
    with pytest.raises(InputError, match="this is a link that leads in a circle"):
        find_media(tmp_path / "photos")


def names(media):
    return sorted(file.path.name for file in media)


def test_both_parts_of_a_live_photo_are_found_where_they_share_nothing(tmp_path):
    touch(tmp_path, "IMG_1.JPG", "IMG_1.MOV", "IMG_2.HEIC", "img_2.mov")
    media = find_media(tmp_path, videos=True, live_photos=True)
    assert names(media) == ["IMG_1.JPG", "IMG_1.MOV", "IMG_2.HEIC", "img_2.mov"]


def test_both_parts_of_a_live_photo_are_refused_with_the_flag_that_takes_one_kind(tmp_path):
    with pytest.raises(InputError) as caught:
        find_media(touch(tmp_path, "IMG_1.JPG", "IMG_1.MOV"), videos=True, shared="one mask")
    assert "--media photos" in caught.value.problems[0].fix


@pytest.mark.parametrize("third", ["a.png", "a.mp4"])
def test_twins_of_one_kind_are_refused_among_live_photos_too(tmp_path, third):
    with pytest.raises(InputError, match="two files would share"):
        find_media(touch(tmp_path, "a.jpg", "a.mov", third), videos=True, live_photos=True)


def test_a_heic_photo_that_lies_there_as_a_jpeg_as_well_is_left_out(tmp_path):
    touch(tmp_path, "a.heic", "a.jpg", "b.heic", "c.heic", "c.mov")
    assert names(find_media(tmp_path, videos=True, live_photos=True)) == ["a.jpg", "b.heic", "c.heic", "c.mov"]


def masks_of_a_live_photo(folder, note):
    write_png_grey(folder / "IMG_1.png", tier_mask(), note=note)
    (folder / "IMG_1").mkdir()
    return folder


def test_the_clip_of_a_live_photo_gets_its_frames_and_the_photo_its_mask(tmp_path):
    masks_of_a_live_photo(tmp_path, {"inputs": [{"name": "IMG_1.HEIC"}]})
    assert match_masks(tmp_path, videos=True) == {"img_1": tmp_path / "IMG_1"}
    assert match_masks(tmp_path) == match_live_photos(tmp_path) == {"img_1": tmp_path / "IMG_1.png"}


def test_what_a_mask_was_made_from_first_is_known_behind_other_masks(tmp_path):
    masks_of_a_live_photo(tmp_path, {"inputs": [{"name": "IMG_1.png"}], "media": "IMG_1.JPG"})
    assert match_masks(tmp_path, videos=True) == {"img_1": tmp_path / "IMG_1"}


@pytest.mark.parametrize(
    "note",
    [
        None,
        {"inputs": [{"name": "IMG_1.MOV"}]},
        {"inputs": [{"name": "IMG_1.png"}], "media": "IMG_1.MOV"},
        {"inputs": 3},
    ],
)
def test_two_masks_of_one_clip_are_refused(tmp_path, note):
    with pytest.raises(InputError, match="would share one item as its masks"):
        match_masks(masks_of_a_live_photo(tmp_path, note), videos=True)


def test_a_folder_that_is_not_there_is_answered_with_the_one_that_is_nearly_called_so(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, begin in (("photo", f"did you mean `{tmp_path / 'photos'}`? paths start at"), ("x", "paths start at")):
        with pytest.raises(InputError) as caught:
            find_media(tmp_path / name)
        assert caught.value.problems[0].fix.startswith(begin)


def test_what_is_no_file_is_listed_to_be_refused_by_name_and_folders_are_not(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "linked.png").symlink_to(tmp_path / "folder.png")
    (tmp_path / ".hidden.png").touch()
    listed = [path.name for path in list_files(tmp_path, frozenset({".png"}))]
    assert listed == ["circle.png", "nowhere.png", "pipe.png"]
