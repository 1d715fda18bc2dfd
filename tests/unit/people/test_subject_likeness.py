"""How alike faces and the subject are: what a number means, who counts as the subject, and what means are taken."""

import numpy as np
import pytest

from blissmask.people.subject_likeness import DrawnPicture, LikenessMeter, likeness_of, median_distance, summarise
from tests.builders.face_reader import PaintedFaces, painted

KYLA, TWIN, STRANGER = (255, 0), (204, 0), (0, 255)


def meter(*references, **reader):
    embeddings = [np.array(person, np.float32) / 255 for person in references or (KYLA,)]
    return LikenessMeter(PaintedFaces(**reader), embeddings, max_distance=0.5)


def drawn(*people, shows_subject=True, **reader):
    return DrawnPicture(meter(**reader).measure(painted(*people)), shows_subject)


def test_the_border_of_one_person_is_a_half_and_nothing_is_below_zero():
    assert [likeness_of(distance, 0.5) for distance in (0.0, 0.25, 0.5, 1.0, 3.0)] == [1.0, 0.75, 0.5, 0.0, 0.0]


def test_one_poor_reference_does_not_count():
    known = np.array([[0, 0], [0, 0.1], [9, 9]], np.float32)
    assert median_distance(np.zeros(2, np.float32), known) == pytest.approx(0.1)


def test_the_most_alike_face_is_the_subject_and_the_others_are_other_people():
    picture = drawn(STRANGER, TWIN)
    assert picture.subject.likeness == pytest.approx(0.8)
    assert [face.likeness for face in picture.others] == [0.0]
    assert picture.subject.width == 80 / 64


def test_where_the_subject_is_not_asked_for_every_face_is_another_persons():
    picture = drawn(STRANGER, TWIN, shows_subject=False)
    assert picture.subject is None
    assert picture.others[0].likeness == pytest.approx(0.8)


def test_a_picture_without_a_face_counts_as_nothing_alike():
    summary = summarise([drawn(KYLA), drawn(), drawn(STRANGER, shows_subject=False)])
    assert (summary.pictures, summary.faces, summary.others_pictures) == (2, 1, 1)
    assert (summary.subject, summary.spread, summary.others) == (0.5, 0.5, 0.0)
    assert summary.values() == {
        "likeness/subject": 0.5,
        "likeness/spread": 0.5,
        "likeness/faces": 0.5,
        "likeness/face_width": 80 / 64,
        "likeness/others": 0.0,
    }


def test_means_that_there_are_none_of_are_left_out():
    assert summarise([]).values() == {}
    assert "likeness/others" not in summarise([drawn(KYLA)]).values()


def test_faces_that_cannot_be_judged_are_counted():
    assert summarise([drawn(KYLA, width=59.0)]).unclear == 1
    assert summarise([drawn(KYLA, width=60.0)]).unclear == 0


def test_references_are_as_alike_as_a_perfect_picture_is():
    assert meter().among_references() == []
    assert meter(KYLA, TWIN).among_references() == pytest.approx([0.8, 0.8])
