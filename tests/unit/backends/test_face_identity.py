"""Who is the subject: the decision, free of networks."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from blissmask.errors import InputError, MaskError
from blissmask.people.face_identity import (
    Candidate,
    FaceIdentity,
    Reference,
    decide,
    face_owners,
    nearest,
    read_references,
)
from blissmask.people.faces.face_reader import Face, Thresholds
from blissmask.people.people_backend import Person, Verdict

DEFAULT = Thresholds(max_distance=0.55, uncertain_band=0.05, min_margin=0.10, unclear_tighter=0.10)


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


@pytest.mark.parametrize(
    ("distance", "verdict"), [(0.44, Verdict.FOUND), (0.50, Verdict.UNCERTAIN), (0.58, Verdict.ABSENT)]
)
def test_an_unclear_face_must_be_nearer(distance, verdict):
    assert _decide(distance, clear=False).verdict is verdict


def test_a_face_nearer_to_a_negative_is_not_the_subject():
    decision = decide([Candidate(0.40, negative=0.30), Candidate(0.50, negative=0.90)], DEFAULT)
    assert (decision.verdict, decision.face) == (Verdict.FOUND, 1)


def test_when_negatives_claim_every_face_the_subject_is_absent():
    decision = decide([Candidate(0.40, negative=0.30)], DEFAULT)
    assert (decision.verdict, decision.face, decision.distance) == (Verdict.ABSENT, None, 0.40)


def test_thresholds_can_be_moved():
    strict = replace(DEFAULT, max_distance=0.40, uncertain_band=0.0)
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


RGB = np.zeros((100, 100, 3), np.uint8)
LEFT_FACE, RIGHT_FACE = (10.0, 10.0, 30.0, 30.0), (60.0, 10.0, 80.0, 30.0)


@dataclass
class Reader:
    """Finds the same faces in every photo."""

    found: list
    thresholds: Thresholds = DEFAULT
    thread_safe: bool = True

    def faces(self, rgb_HW3):
        return self.found


def _face(place, box=LEFT_FACE, **unusual):
    """Return a face whose distance to a subject at 0 is ``place``."""
    return Face(box, np.array([place], np.float32), **{"width_pixels": 100.0, **unusual})


def _choose(*faces, negatives=(), people=None, others=(), **options):
    identity = FaceIdentity(Reader(list(faces)), [np.zeros(1, np.float32)], negatives, **options)
    two = [_person(0, 0, 50, 100), _person(50, 0, 100, 100)]
    return identity.choose(RGB, two if people is None else people, others=others)


def test_an_identity_needs_a_reference():
    with pytest.raises(InputError, match="no reference"):
        FaceIdentity(Reader([]), [])


def test_the_person_below_the_nearest_face_is_chosen():
    choice = _choose(_face(0.9), _face(0.3, RIGHT_FACE))
    assert (choice.verdict, choice.person) == (Verdict.FOUND, 1)
    assert choice.distance == pytest.approx(0.3)


def test_the_face_of_whoever_is_somebody_else_decides_nothing():
    twins = (_face(0.35), _face(0.34, RIGHT_FACE))
    assert _choose(*twins).verdict is Verdict.UNCERTAIN
    choice = _choose(*twins, others={1})
    assert (choice.verdict, choice.person, choice.margin) == (Verdict.FOUND, 0, None)
    assert choice.distance == pytest.approx(0.35)
    assert choice.strangers == {1}
    assert _choose(*twins, others={0, 1}).person is None


def test_a_photo_without_faces_has_no_choice():
    assert _choose().verdict is Verdict.NO_FACE


def test_a_face_nearer_to_a_negative_is_somebody_else():
    assert _choose(_face(0.3), negatives=[np.array([0.35], np.float32)]).verdict is Verdict.ABSENT


def test_a_face_that_nobody_outlined_is_uncertain_and_no_person():
    choice = _choose(_face(0.3), people=[])
    assert (choice.verdict, choice.person) == (Verdict.UNCERTAIN, None)


def test_clear_faces_beyond_the_uncertain_band_make_strangers_of_their_owners():
    assert _choose(_face(0.61), _face(0.59, RIGHT_FACE)).strangers == {0}


def test_whoever_has_the_face_of_a_negative_is_a_stranger():
    assert _choose(_face(0.5), _face(0.1, RIGHT_FACE), negatives=[np.array([0.6], np.float32)]).strangers == {0}


@pytest.mark.parametrize("unusual", [{"width_pixels": 59.0}, {"confidence": 0.4}, {"turned_away": True}])
def test_an_unclear_face_makes_nobody_a_stranger(unusual):
    assert _choose(_face(0.9, **unusual)).strangers == frozenset()


def test_nobody_with_a_face_that_might_be_the_subjects_is_a_stranger():
    assert _choose(_face(0.9), _face(0.58, (12.0, 40.0, 30.0, 60.0), width_pixels=30.0)).strangers == frozenset()


def test_a_clear_face_that_is_nobodys_makes_nobody_a_stranger():
    assert _choose(_face(0.9), people=[_person(60, 60, 90, 90)]).strangers == frozenset()


def test_thresholds_are_the_readers_unless_given():
    assert _choose(_face(0.5)).verdict is Verdict.FOUND
    assert _choose(_face(0.5), thresholds=replace(DEFAULT, max_distance=0.4)).verdict is Verdict.ABSENT


@pytest.mark.parametrize("unusual", [{"width_pixels": 59.0}, {"confidence": 0.4}, {"turned_away": True}])
def test_a_small_doubtful_or_turned_face_is_unclear(unusual):
    assert _choose(_face(0.5)).verdict is Verdict.FOUND
    assert _choose(_face(0.5, **unusual)).verdict is Verdict.UNCERTAIN


def test_doubtful_faces_do_not_count_in_a_reference():
    (face,) = read_references(Reader([_face(0.1), _face(0.2, confidence=0.4)]), [Reference("a.png", RGB)])
    assert face.embedding_D == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("faces", "what"),
    [
        ([], "no clear face"),
        ([_face(0, confidence=0.4)], "no clear face"),
        ([_face(0), _face(1)], "2 faces are in the reference photo"),
        ([_face(0, turned_away=True)], "turned away"),
    ],
)
def test_references_without_exactly_one_clear_face_are_all_named(faces, what):
    with pytest.raises(MaskError) as refusal:
        read_references(Reader(faces), [Reference("a.png", RGB), Reference("b.png", RGB)])
    assert [problem.where for problem in refusal.value.problems] == [("a.png",), ("b.png",)]
    assert what in refusal.value.problems[0].what
