"""Numbers in names count as numbers."""

from itertools import permutations

from blissmask.storage.name_order import by_numbers


def test_numbers_in_names_count_as_numbers_wherever_they_stand():
    # Numbers that are equal, such as 1 and 01, go by the text of the whole name.
    ordered = ["2.png", "10.png", "a1b2.png", "a01b10.png", "a1b10.png", "a2.png", "a.png", "b.png"]
    for first, second in permutations(ordered, 2):
        assert (by_numbers(first) < by_numbers(second)) == (ordered.index(first) < ordered.index(second))
