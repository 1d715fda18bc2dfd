"""Masks that are zero everywhere: of a subject they are no fault, and full weight would train somebody else."""

import pytest

from blissmask.tasks.cache.empty_masks import EmptyMask, empty_warnings


def told(*masks):
    return [(problem.what, problem.where, problem.fix) for problem in empty_warnings(masks)]


def test_without_a_subject_full_weight_is_a_way_out():
    [(what, where, fix)] = told(EmptyMask("masks/a.png", (), "warn"), EmptyMask("masks/b.png", (), "warn"))
    assert what == "2 masks are zero everywhere; nothing would be learned from them"
    assert where == ("masks/a.png", "masks/b.png")
    assert "set `--empty-mask full`" in fix


@pytest.mark.parametrize("handling", ["warn", "error"])
def test_full_weight_is_never_advised_where_a_subject_is_not_there(handling):
    [(_, _, fix)] = told(EmptyMask("masks/clip frames 0-4", ("kyla",), handling))
    assert "full" not in fix


def test_of_a_subject_it_is_said_that_they_are_not_there_and_of_others_that_the_mask_is_empty():
    first, second = told(EmptyMask("k/a.png", ("kyla",), "warn"), EmptyMask("masks/b.png", (), "warn"))
    assert first[:2] == ("`kyla` is not in 1 item: the mask is empty", ("k/a.png",))
    assert second[0] == "1 mask is zero everywhere; nothing would be learned from it"


def test_where_full_weight_was_asked_for_it_is_not_said_that_nothing_is_learned():
    [(what, _, fix)] = told(EmptyMask("masks/a.png", (), "full"))
    assert what == "1 mask is zero everywhere, and full weight takes the place of it"
    assert "set `--empty-mask full`" not in fix
