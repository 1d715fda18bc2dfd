"""What was meant by a name that is not there."""

import difflib
import os
from pathlib import Path

import pytest

from blissmask.storage.near_miss import near_miss, near_miss_and
from blissmask.storage.ordinary import why_no_file


@pytest.mark.parametrize(
    ("there", "named", "meant"),
    [
        (["photos/"], "photo", "photos"),
        (["photos/", "photo_old/", "masks/"], "photo", "photos"),
        (["Photos/"], "photos", "Photos"),
        (["photos/", "masks/"], "fotos", "photos"),
        (["photos/kyla/a.png"], "phots/kyla/a.png", "photos/kyla/a.png"),
        (["kyla.safetensors"], "kila.safetensors", "kyla.safetensors"),
        (["photo.jpeg"], "photo.jpg", "photo.jpeg"),
        # Nothing is near, or more than one thing is.
        (["masks/"], "photos", ""),
        (["b.png"], "a.png", ""),
        (["photo1.jpg", "photo2.jpg"], "photo3.jpg", ""),
        (["photos/tom/"], "photo/kyla", ""),
        # What is there needs no other.
        (["photo/", "photos/"], "photo", ""),
        ([], "photos", ""),
        ([".photo/"], "photo", ""),
    ],
)
def test_the_one_thing_that_is_called_nearly_so_is_named(tmp_path, there, named, meant):
    for name in there:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(b"")
    assert near_miss(tmp_path / named) == (f"did you mean `{tmp_path / meant}`?" if meant else "")


def test_where_a_folder_is_needed_no_file_is_meant(tmp_path):
    (tmp_path / "photos").write_bytes(b"")
    assert near_miss(tmp_path / "photo", folders=True) == ""


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\udcff"])
def test_a_name_that_no_file_can_have_is_no_crash(tmp_path, name):
    assert near_miss(tmp_path / name) == ""


def test_why_there_is_no_file_says_what_was_meant(tmp_path):
    (tmp_path / "kyla.safetensors").write_bytes(b"")
    why = why_no_file(tmp_path / "kila.safetensors", "LoRA file")
    assert why == f"there is no such LoRA file, did you mean `{tmp_path / 'kyla.safetensors'}`?"


@pytest.mark.skipif(os.name == "nt", reason="there it is a path like any other")
@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (r"C:\Users\me\photos", "in WSL this is `/mnt/c/Users/me/photos`"),
        ("D:/me/photos", "in WSL this is `/mnt/d/me/photos`"),
        (r"C:\photos", "in WSL this is `/mnt/c/photos`"),
    ],
)
def test_a_path_of_windows_is_told_as_wsl_has_it(typed, told):
    assert near_miss(Path(typed)) == told


@pytest.mark.skipif(os.name == "nt", reason="there it is a path like any other")
def test_a_path_of_windows_whose_backslashes_a_shell_took_is_known_by_the_drive(tmp_path, monkeypatch):
    monkeypatch.setattr("blissmask.storage.near_miss._DRIVES", tmp_path)
    assert near_miss(Path("C:Usersmephotos")) == ""
    (tmp_path / "c").mkdir()
    assert near_miss(Path("C:Usersmephotos")) == rf"in WSL `C:\` is `{tmp_path}/c/`, and `/` stands for each `\`"


@pytest.mark.skipif(os.name == "nt", reason="there no name has a colon")
def test_a_name_with_a_colon_is_no_path_of_windows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a:portrait.png").touch()
    assert near_miss(Path("a:portrat.png")) == "did you mean `a:portrait.png`?"


def test_what_is_known_of_a_name_is_counted_once_for_a_folder_of_any_size(tmp_path, monkeypatch):
    counted = []

    class Matcher(difflib.SequenceMatcher):
        def set_seq2(self, b):
            counted.append(b)
            super().set_seq2(b)

        def quick_ratio(self):
            counted.append("quick")
            return super().quick_ratio()

    monkeypatch.setattr(difflib, "SequenceMatcher", Matcher)
    for number in range(9):
        (tmp_path / f"a photo of another length {number}.png").touch()
    assert near_miss(tmp_path / "kyla.png") == ""
    assert counted == ["kyla.png", "kyla"]


@pytest.mark.skipif(os.name == "nt", reason="there it is a path like any other")
def test_what_follows_is_a_sentence_of_its_own(tmp_path):
    (tmp_path / "photos").mkdir()
    assert near_miss_and(tmp_path / "photo", "look") == f"did you mean `{tmp_path / 'photos'}`? look"
    assert near_miss_and(Path(r"C:\a\b"), "look") == "in WSL this is `/mnt/c/a/b`; look"
    assert near_miss_and(tmp_path / "masks", "look") == "look"


@pytest.mark.parametrize(
    ("there", "named", "found"),
    [
        ("Wan2.1-VAE.safetensors", "wan2.1_vae.pth", True),
        ("models/vae.safetensors", "Models/vae.safetensors", True),
        ("wan2.2_vae.safetensors", "wan_2.1_vae.safetensors", False),
        ("wan2.2_t2v_high_noise_14B.safetensors", "wan2.2_t2v_low_noise_14B.safetensors", False),
        ("wan2.2_t2v_14B.safetensors", "wan2.2_i2v_14B.safetensors", False),
        ("wan_2.2/vae.safetensors", "wan_2.1/vae.safetensors", False),
    ],
)
def test_a_model_that_is_called_nearly_so_is_another_model(tmp_path, there, named, found):
    path = tmp_path / there
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert near_miss(tmp_path / named, same_words=True) == (f"did you mean `{path}`?" if found else "")
