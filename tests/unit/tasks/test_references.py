"""Photos that an option names: what is no photo is told with the option and a way out, whatever it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blissmask.errors import UsageError
from blissmask.tasks.instance.references import photos_of
from tests.builders.pictures import random_rgb, save


def test_files_and_the_pictures_of_folders_are_photos(tmp_path):
    rgb = random_rgb((8, 8))
    for name in ("folder/b.png", "folder/a.png", "c.png"):
        save(tmp_path / name, rgb)
    (tmp_path / "folder" / "a.txt").touch()
    found = photos_of([tmp_path / "c.png", tmp_path / "folder"], "--reference")
    assert [path.name for path in found] == ["c.png", "a.png", "b.png"]


def test_whatever_is_no_photo_is_told_in_one_form(tmp_path):
    folder, broken, empty, pipe, circle, made_up = (
        tmp_path / name for name in ("folder", "broken.jpg", "empty.jpg", "pipe.jpg", "circle.jpg", "made-up.jpg")
    )
    folder.mkdir()
    broken.write_bytes(b"\xff\xd8\xff")
    empty.touch()
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    made_up.symlink_to("/proc/self/mem")
    missing = tmp_path / "missing.jpg"
    paths = [folder, broken, empty, pipe, circle, made_up, missing, tmp_path / "missing too"]
    with pytest.raises(UsageError) as caught:
        photos_of(paths, "--likeness-reference")
    problems = caught.value.problems
    assert [place for problem in problems for place in problem.where] == [str(path) for path in paths]
    assert all(problem.what.startswith("`--likeness-reference`: ") for problem in problems)
    way_out = f"name photos, or a folder of them; paths start at {Path.cwd()}"
    assert [problem.fix for problem in problems if problem.where[0] not in (str(broken), str(empty))] == [way_out] * 5
    assert [problem.what.partition(": ")[2] for problem in problems if problem.fix == way_out] == [
        "the folder holds no pictures",
        "the photo or folder cannot be read: it is a pipe, not an ordinary file",
        "the photo or folder cannot be read: it is a link that leads in a circle",
        "the photo or folder cannot be read: it is made up by the kernel, not an ordinary file",
        "there is no such photo or folder",
    ]
