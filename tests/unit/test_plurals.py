"""Words that go by a number."""

from blissmask.plurals import counted, verb


def test_a_noun_and_its_verb_go_by_the_number():
    assert [f"{counted(number, 'mask')} {verb(number, 'is', 'are')} there" for number in (0, 1, 2)] == [
        "0 masks are there",
        "1 mask is there",
        "2 masks are there",
    ]


def test_a_noun_of_another_plural_is_given_it():
    assert [counted(number, "person", "people") for number in (1, 2)] == ["1 person", "2 people"]
