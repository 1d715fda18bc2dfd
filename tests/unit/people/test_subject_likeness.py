"""How alike faces and the subject are: what a number means, who counts as the subject, and what means are taken."""

import numpy as np
import pytest

from blissmask.people.subject_likeness import (
    ONLY,
    DrawnPicture,
    LikenessMeter,
    SubjectsSummary,
    likeness_of,
    median_distance,
    summarise,
    title_of_each,
)
from tests.builders.face_reader import PaintedFaces, painted

KYLA, TWIN, STRANGER = (255, 0), (204, 0), (0, 255)
TOM, TOM_WITH_SOME_KYLA = (0, 0), (153, 0)


def meter(*references, **reader):
    embeddings = [np.array(person, np.float32) / 255 for person in references or (KYLA,)]
    return LikenessMeter(PaintedFaces(**reader), {ONLY: embeddings}, max_distance=0.5)


def drawn(*people, shows_subject=True, **reader):
    return DrawnPicture(meter(**reader).measure(painted(*people)), (ONLY,) if shows_subject else ())


def both():
    """Return a meter of two subjects, who have nothing of each other."""
    embeddings = {"kyla": KYLA, "tom": TOM}
    references = {name: [np.array(person, np.float32) / 255] for name, person in embeddings.items()}
    return LikenessMeter(PaintedFaces(), references, max_distance=0.5)


def drawn_of_both(*people, asked):
    return DrawnPicture(both().measure(painted(*people)), asked)


def test_the_border_of_one_person_is_a_half_and_nothing_is_below_zero():
    assert [likeness_of(distance, 0.5) for distance in (0.0, 0.25, 0.5, 1.0, 3.0)] == [1.0, 0.75, 0.5, 0.0, 0.0]


def test_one_poor_reference_does_not_count():
    known = np.array([[0, 0], [0, 0.1], [9, 9]], np.float32)
    assert median_distance(np.zeros(2, np.float32), known) == pytest.approx(0.1)


def test_the_most_alike_face_is_the_subject_and_the_others_are_other_people():
    picture = drawn(STRANGER, TWIN)
    assert picture.owners[ONLY].likeness == {ONLY: pytest.approx(0.8)}
    assert [face.likeness[ONLY] for face in picture.others(ONLY)] == [0.0]
    assert picture.owners[ONLY].width == 80 / 64


def test_where_the_subject_is_not_asked_for_every_face_is_another_persons():
    picture = drawn(STRANGER, TWIN, shows_subject=False)
    assert picture.owners == {}
    assert picture.others(ONLY)[0].likeness[ONLY] == pytest.approx(0.8)


def test_a_picture_without_a_face_counts_as_nothing_alike():
    summary = summarise([drawn(KYLA), drawn(), drawn(STRANGER, shows_subject=False)])
    assert (summary.whole.pictures, summary.whole.faces, summary.whole.others_pictures) == (2, 1, 1)
    assert (summary.whole.subject, summary.whole.spread, summary.whole.others) == (0.5, 0.5, 0.0)
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
    assert summarise([drawn(KYLA, width=59.0)]).whole.unclear == 1
    assert summarise([drawn(KYLA, width=60.0)]).whole.unclear == 0


def test_references_are_as_alike_as_a_perfect_picture_is():
    assert meter().among_references(ONLY) == []
    assert meter(KYLA, TWIN).among_references(ONLY) == pytest.approx([0.8, 0.8])


def test_each_face_is_that_of_one_subject_and_the_most_alike_pair_is_first():
    # Both faces are nearest to Tom; the one that is his leaves the other to Kyla.
    picture = drawn_of_both((51, 0), TOM, asked=("kyla", "tom"))
    assert picture.owners["tom"].likeness["tom"] == 1.0
    assert picture.owners["kyla"].distance["tom"] == pytest.approx(0.2)


def test_one_face_for_two_subjects_is_that_of_one_and_the_other_has_none():
    summary = summarise([drawn_of_both(KYLA, asked=("kyla", "tom"))], ["kyla", "tom"])
    assert (summary.subjects["kyla"].subject, summary.subjects["tom"].subject) == (1.0, 0.0)
    assert summary.subjects["tom"].faces == 0
    assert (summary.whole.pictures, summary.whole.faces, summary.whole.subject) == (2, 1, 0.5)


def test_what_one_subject_has_of_another_is_told_of_every_two():
    pictures = [drawn_of_both(KYLA, asked=("kyla",)), drawn_of_both(TOM_WITH_SOME_KYLA, asked=("tom",))]
    summary = summarise(pictures, ["kyla", "tom"])
    assert summary.between == {("kyla", "tom"): pytest.approx(0.6), ("tom", "kyla"): 0.0}
    values = summary.values()
    assert values["likeness/between/kyla/in/tom"] == pytest.approx(0.6)
    assert values["likeness/subject/kyla"] == 1.0
    # To Kyla, Tom is one of the other people.
    assert values["likeness/others/kyla"] == pytest.approx(0.6)
    titles = [title_of_each(name) for name in values]
    assert [title for title in titles if title] == [
        "kyla",
        "kyla in other people",
        "tom",
        "tom in other people",
        "kyla in tom",
        "tom in kyla",
    ]
    assert summary.to_json()["between"]["kyla"] == {"tom": pytest.approx(0.6)}


def test_a_title_keeps_the_names_as_they_are():
    own = summarise([]).whole
    values = SubjectsSummary(own, {"woman_in_red": own, "in": own}, {("woman_in_red", "in"): 0.5}).values()
    assert [title_of_each(name) for name in values if "between" in name] == ["woman_in_red in in"]


def test_references_of_two_subjects_say_what_pictures_without_bleeding_have():
    assert both().between_references("kyla", "tom") == 0.0
