"""Control pictures belong to the photo whose name they begin with, in the order of their numbers."""

from pathlib import Path

import pytest

from blissmask.dataset.controls import match_numbered
from blissmask.errors import InputError


def matched(stems, names):
    return {
        key: [path.name for path in paths]
        for key, paths in match_numbered(stems, [Path(name) for name in names]).items()
    }


def test_controls_are_ordered_by_number_not_by_text():
    assert matched(["a"], ["a_10.png", "a_2.png", "a.png"]) == {"a": ["a.png", "a_2.png", "a_10.png"]}


def test_the_longest_stem_gets_the_control():
    assert matched(["kyla", "kyla_1"], ["kyla_1_0.png", "kyla_0.png"]) == {
        "kyla_1": ["kyla_1_0.png"],
        "kyla": ["kyla_0.png"],
    }


def test_controls_of_nobody_are_left_out():
    assert matched(["a"], ["b.png"]) == {}


def test_controls_without_a_number_are_refused():
    with pytest.raises(InputError, match="do not end in a number"):
        matched(["a"], ["a_left.png"])
