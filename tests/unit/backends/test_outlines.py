"""people/outlines.py: outlines become people that share no pixel."""

import numpy as np
import pytest

from blissmask.people.outlines import MAX_PEOPLE, Outline, separate

SIZE_WH = (20, 10)


def outline(score, left, top, width, height, *, probability=0.9):
    return Outline(score, left, top, np.full((height, width), probability, np.float32))


def test_contested_pixels_go_to_the_likelier_person():
    people = separate(
        [outline(0.9, 0, 0, 12, 10, probability=0.7), outline(0.6, 8, 0, 12, 10, probability=0.8)], SIZE_WH
    )
    assert [person.box_xyxy for person in people] == [(8, 0, 20, 10), (0, 0, 8, 10)]


def test_of_two_equally_likely_people_the_better_score_keeps_the_pixels():
    people = separate([outline(0.6, 8, 0, 12, 10), outline(0.9, 0, 0, 12, 10)], SIZE_WH)
    assert [person.score for person in people] == [0.9, 0.6]
    assert people[0].box_xyxy == (0, 0, 12, 10)


def test_person_seen_twice_is_one_person():
    people = separate([outline(0.6, 0, 0, 10, 9), outline(0.9, 0, 0, 10, 10)], SIZE_WH)
    assert [person.score for person in people] == [0.9]


def test_person_inside_another_is_somebody_else():
    assert len(separate([outline(0.9, 0, 0, 20, 10, probability=0.6), outline(0.8, 5, 2, 5, 5)], SIZE_WH)) == 2


def test_outline_that_is_nowhere_likely_is_nobody():
    assert separate([outline(0.9, 0, 0, 5, 5, probability=0.5)], SIZE_WH) == []


def test_person_who_loses_every_pixel_is_dropped():
    assert len(separate([outline(0.9, 0, 0, 20, 10), outline(0.8, 5, 2, 5, 5)], SIZE_WH)) == 1


def test_masks_are_where_the_window_is():
    (person,) = separate([outline(0.9, 3, 2, 4, 5)], SIZE_WH)
    expected = np.zeros((10, 20), bool)
    expected[2:7, 3:7] = True
    assert (person.mask_HW == expected).all()


def test_a_network_gone_wrong_yields_the_best_so_many():
    many = [outline(0.3 + number / 1000, number % 200, number // 200, 1, 1) for number in range(MAX_PEOPLE + 50)]
    people = separate(many, (200, 10))
    assert len(people) == MAX_PEOPLE
    assert min(person.score for person in people) == pytest.approx(0.35)
