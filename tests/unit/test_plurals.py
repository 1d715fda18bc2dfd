"""Words that go by a number."""

from blissmask.plurals import counted, listed, verb


def test_a_noun_and_its_verb_go_by_the_number():
    assert [f"{counted(number, 'mask')} {verb(number, 'is', 'are')} there" for number in (0, 1, 2)] == [
        "0 masks are there",
        "1 mask is there",
        "2 masks are there",
    ]


def test_a_noun_of_another_plural_is_given_it():
    assert [counted(number, "person", "people") for number in (1, 2)] == ["1 person", "2 people"]


def test_words_are_listed_as_a_sentence_has_them():
    assert [listed("abc"[:count]) for count in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
