"""How numbers and the likeness of previews are written."""

import pytest

from blissmask.people.subject_likeness import LikenessSummary, SubjectsSummary
from blissmask.tasks.run.wording import number_text
from blissmask.tasks.train.previews.measure import described


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.123"), (0.1, "0.100"), (12.3456, "12.3"), (0.0, "0.00"), (1.5e-5, "1.5e-05")]
)
def test_a_measured_number_has_three_digits_that_count(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("faces", "others", "text"),
    [
        (1, None, "0.31, a face in 1 of 2 pictures"),
        (0, None, "no face in 2 pictures"),
        (0, 0.2, "no face in 2 pictures; other people 0.20"),
    ],
)
def test_pictures_without_a_face_have_no_likeness_that_says_something(faces, others, text):
    likeness = 0.31 if faces else 0.0
    summary = LikenessSummary(
        pictures=2, faces=faces, unclear=0, subject=likeness, spread=0.1, width=None, others=others, others_pictures=1
    )
    assert described(SubjectsSummary(summary, {"subject": summary}, {})) == text
