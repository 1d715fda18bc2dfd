"""The built-in instance backend and identity on groups made of real photos whose owner of each half is known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.errors import MaskError
from blissmask.people.embedded import backend
from blissmask.people.face_identity import FaceIdentity, Reference, read_references
from blissmask.people.faces.embedded import EmbeddedFaces
from blissmask.people.people_backend import Verdict
from blissmask.people.subject_likeness import ONLY, LikenessMeter

PHOTOS = Path(__file__).parents[2] / "photos"
BACKEND = backend(InstanceSection())
READER = EmbeddedFaces()
HALF = 512


def photo(name):
    return np.array(Image.open(PHOTOS / name).convert("RGB"))


def another_astronaut():
    """Return the astronaut as another photo might show her: mirrored, darker, closer and smaller."""
    head = (
        Image.fromarray(photo("astronaut.png")[:, ::-1])
        .crop((150, 0, 450, 300))
        .resize((260, 260), Image.Resampling.BICUBIC)
    )
    return np.array(ImageEnhance.Brightness(head).enhance(0.75))


@pytest.fixture(scope="module")
def group():
    """Return the camera man on the left, the astronaut on the right."""
    return np.concatenate([photo("camera.png"), photo("astronaut.png")], axis=1)


@pytest.fixture(scope="module")
def people(group):
    return BACKEND.people(group)


def identity_of(*rgbs, negatives=()):
    faces = read_references(
        READER, (Reference(f"reference {index}", rgb) for index, rgb in enumerate([*rgbs, *negatives]))
    )
    embeddings = [face.embedding_D for face in faces]
    return FaceIdentity(READER, embeddings[: len(rgbs)], embeddings[len(rgbs) :])


def test_the_likeness_of_another_photo_is_above_the_border_and_a_strangers_below():
    (reference,) = READER.faces(photo("astronaut.png"))
    meter = LikenessMeter(READER, {ONLY: [reference.embedding_D]}, max_distance=READER.thresholds.max_distance)
    (same,) = meter.measure(another_astronaut())
    (stranger,) = meter.measure(photo("camera.png"))
    assert same.likeness[ONLY] > 0.6
    assert stranger.likeness[ONLY] < 0.4
    assert (same.clear, stranger.clear) == (True, False)


def right_share(person):
    return person.mask_HW[:, HALF:].sum() / person.mask_HW.sum()


def test_two_people_are_found_each_in_their_half(people):
    assert len(people) == 2
    assert sorted(right_share(person) for person in people) == pytest.approx([0, 1], abs=0.02)


def test_people_come_largest_first_and_never_overlap(people):
    areas = [person.mask_HW.sum() for person in people]
    assert areas == sorted(areas, reverse=True)
    assert not (people[0].mask_HW & people[1].mask_HW).any()


def test_boxes_hold_their_masks(people):
    for person in people:
        left, top, right, bottom = (int(edge) for edge in person.box_xyxy)
        assert person.mask_HW[top:bottom, left:right].sum() == person.mask_HW.sum()
        assert person.mask_HW[top].any()
        assert person.mask_HW[:, right - 1].any()


def test_the_subject_is_found_from_another_picture(group, people):
    choice = identity_of(another_astronaut()).choose(group, people)
    assert choice.verdict is Verdict.FOUND
    assert choice.person is not None
    assert right_share(people[choice.person]) > 0.98
    assert choice.distance < 0.45


def test_a_stranger_is_refused():
    man = photo("camera.png")
    choice = identity_of(another_astronaut()).choose(man, BACKEND.people(man))
    assert (choice.verdict, choice.person) == (Verdict.ABSENT, None)
    assert choice.distance > 0.65


def test_a_negative_keeps_the_subject_away(group, people):
    choice = identity_of(another_astronaut(), negatives=[photo("astronaut.png")]).choose(group, people)
    assert choice.person is None or right_share(people[choice.person]) < 0.02
    assert choice.verdict is not Verdict.FOUND


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png"])
def test_photos_without_a_person_have_nobody_and_no_face(name):
    rgb = photo(name)
    found = BACKEND.people(rgb)
    assert found == []
    assert identity_of(another_astronaut()).choose(rgb, found).verdict is Verdict.NO_FACE


def test_a_pixel_has_nobody_in_it():
    assert BACKEND.people(np.zeros((1, 1, 3), np.uint8)) == []


def test_references_without_exactly_one_face_are_all_named():
    two = np.concatenate([photo("astronaut.png"), photo("astronaut.png")], axis=1)
    references = [
        Reference("cat.png", photo("chelsea.png")),
        Reference("good.png", photo("astronaut.png")),
        Reference("two.png", two),
    ]
    with pytest.raises(MaskError) as caught:
        read_references(READER, references)
    assert [problem.where for problem in caught.value.problems] == [("cat.png",), ("two.png",)]
    assert "no clear face" in caught.value.problems[0].what
    assert "2 faces" in caught.value.problems[1].what


def test_a_face_seen_from_the_side_is_refused_as_a_reference():
    with pytest.raises(MaskError, match="turned away"):
        read_references(READER, [Reference("side.png", photo("camera.png"))])


def test_embedding_hardly_changes_with_size_and_light():
    near, far = read_references(READER, [Reference("a", photo("astronaut.png")), Reference("b", another_astronaut())])
    assert np.linalg.norm(near.embedding_D - far.embedding_D) < 0.4
    assert near.embedding_D.shape == (128,)
    assert near.width_pixels > 60
