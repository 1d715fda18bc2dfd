"""Errors as values: where something is wrong, and what the system's refusal of a file becomes."""

import errno

import pytest

from blissmask.errors import InputError, Problem, file_error


def test_a_line_names_the_places_before_the_sentence():
    assert Problem("the file is empty", ("masks/a2.png",)).line == "masks/a2.png: the file is empty"
    assert Problem("there is no reference").line == "there is no reference"
    assert Problem("empty", ("a.png",), within="in dataset 2").line == "a.png, in dataset 2: empty"


def test_a_line_within_a_sentence_names_one_place_and_of_many_what_they_are_part_of():
    assert Problem("empty", ("a.png",)).short_line == "a.png: empty"
    assert Problem("no mask for 2 items", ("a.png", "b.png")).short_line == "no mask for 2 items"
    many = Problem("no mask for 2 items", ("a.png", "b.png"), within="in dataset 2")
    assert many.short_line == "in dataset 2: no mask for 2 items"


def test_a_problem_keeps_the_places_that_it_names_itself():
    assert Problem("empty", ("mask.png",)).of("photo.png").where == ("mask.png",)
    assert Problem("not found").of("photo.png").where == ("photo.png",)
    placed = Problem("not found", fix="bring it", within="in dataset 2").of("photo.png")
    assert placed == Problem("not found", ("photo.png",), "bring it", "in dataset 2")


def test_several_problems_of_one_item_become_one_with_all_places():
    error = InputError.several([Problem("gone", ("a.png",), "bring it back"), Problem("empty", ("b.png", "a.png"))])
    assert error.as_one() == Problem("gone; empty", ("a.png", "b.png"), "bring it back")


def test_several_problems_as_one_keep_what_they_are_part_of():
    gone = Problem("gone", ("a.png",), within="in dataset 1")
    empty = Problem("empty", ("b.png",), within="in dataset 1")
    both = InputError.several([gone, empty]).as_one()
    assert both == Problem("gone; empty", ("a.png", "b.png"), within="in dataset 1")
    empty = Problem("empty", ("b.png",), within="in dataset 2")
    places = ("a.png", "in dataset 1", "b.png", "in dataset 2")
    assert InputError.several([gone, empty]).as_one().where == places


@pytest.mark.parametrize("filename", ["locked/a.png", b"locked/a.png"])
def test_the_systems_refusal_of_a_file_names_it(filename):
    refusal = file_error(PermissionError(errno.EACCES, "Permission denied", filename))
    assert refusal is not None
    assert refusal.problems[0].line == "locked/a.png: the file cannot be read: Permission denied"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "a.png"),
        OSError(errno.EMFILE, "Too many open files", "a.png"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EBADF, "Bad file descriptor", 3),
    ],
)
def test_what_would_meet_the_next_file_too_is_not_about_one_file(error):
    assert file_error(error) is None
