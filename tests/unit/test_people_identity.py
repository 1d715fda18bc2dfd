"""Who is the subject: the decision, free of networks."""

import numpy as np
import pytest

from blissmask.errors import InputError
from blissmask.people.identity import Candidate, EmbeddedIdentity, Thresholds, decide, face_owners, nearest
from blissmask.people.protocol import Person, Verdict

DEFAULT = Thresholds()


def _decide(*distances, **unusual):
    return decide([Candidate(distance, **unusual) for distance in distances], DEFAULT)


def _person(left, top, right, bottom, face=None):
    mask = np.zeros((100, 100), bool)
    mask[top:bottom, left:right] = True
    return Person(mask, (left, top, right, bottom), 1.0, face)


def test_no_face_is_its_own_verdict():
    decision = _decide()
    assert decision.verdict is Verdict.NO_FACE
    assert decision.distance is None


def test_the_nearest_face_is_found():
    decision = _decide(0.8, 0.4, 0.9)
    assert (decision.verdict, decision.face) == (Verdict.FOUND, 1)
    assert decision.distance == 0.4
    assert decision.margin == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("distances", "verdict"),
    [
        ((0.55,), Verdict.FOUND),
        ((0.551,), Verdict.UNCERTAIN),
        ((0.60,), Verdict.UNCERTAIN),
        ((0.601,), Verdict.ABSENT),
        ((0.58, 0.70), Verdict.UNCERTAIN),
        ((0.58, 0.65), Verdict.ABSENT),
        ((0.50, 0.58), Verdict.FOUND),
        ((0.50, 0.54), Verdict.UNCERTAIN),
        ((0.30, 0.54), Verdict.FOUND),
    ],
)
def test_threshold_band_and_margin(distances, verdict):
    assert _decide(*distances).verdict is verdict


def test_an_absent_subject_has_no_face_but_a_distance():
    decision = _decide(0.9, 0.8)
    assert (decision.face, decision.distance) == (None, 0.8)


@pytest.mark.parametrize(("distance", "verdict"), [(0.44, Verdict.FOUND), (0.50, Verdict.UNCERTAIN), (0.58, Verdict.ABSENT)])
def test_an_unclear_face_must_be_nearer(distance, verdict):
    assert _decide(distance, clear=False).verdict is verdict


def test_a_face_nearer_to_a_negative_is_not_the_subject():
    decision = decide([Candidate(0.40, negative=0.30), Candidate(0.50, negative=0.90)], DEFAULT)
    assert (decision.verdict, decision.face) == (Verdict.FOUND, 1)


def test_when_negatives_claim_every_face_the_subject_is_absent():
    decision = decide([Candidate(0.40, negative=0.30)], DEFAULT)
    assert (decision.verdict, decision.face, decision.distance) == (Verdict.ABSENT, None, 0.40)


def test_thresholds_can_be_moved():
    strict = Thresholds(max_distance=0.40, uncertain_band=0.0)
    assert decide([Candidate(0.45)], strict).verdict is Verdict.ABSENT


def test_distance_is_that_of_the_nearest_reference():
    known = np.array([[3.0, 4.0], [0.0, 1.0]], np.float32)
    assert nearest(np.zeros(2, np.float32), known) == 1.0


def test_a_face_belongs_to_the_person_with_that_face():
    people = [_person(0, 0, 50, 100, (10, 10, 30, 30)), _person(50, 0, 100, 100, (60, 10, 80, 30))]
    assert face_owners([(61, 11, 81, 31), (10, 10, 30, 30)], people) == [1, 0]


def test_a_face_belongs_to_the_mask_below_it_when_people_know_no_faces():
    people = [_person(0, 0, 50, 100), _person(50, 0, 100, 100)]
    assert face_owners([(60, 10, 80, 30), (45, 10, 65, 30)], people) == [1, 1]


def test_a_face_outside_every_mask_is_nobodys():
    assert face_owners([(80, 80, 95, 95)], [_person(0, 0, 50, 50)]) == [None]


def test_an_identity_needs_a_reference():
    with pytest.raises(InputError, match="no reference"):
        EmbeddedIdentity([])
