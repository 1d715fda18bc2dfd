"""Faces and bodies made by hand: nobody twice, nobody lost, nothing believed without evidence."""

import numpy as np
import pytest

from blissmask.people.embedded import ownership
from blissmask.vision import scene
from blissmask.vision.bodies import find_bodies
from blissmask.vision.bodies.faceless import flesh_share
from blissmask.vision.bodies.pose import Pose
from blissmask.vision.class_map import ClassMap, map_classes, person_box
from blissmask.vision.evidence import join_bodies
from blissmask.vision.faces import find_faces
from blissmask.vision.faces.face_mesh import CHIN, FOREHEAD, LEFT_CHEEK, NOSE, OVAL, RIGHT_CHEEK, FaceMesh
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Square
from blissmask.vision.scene import Figure, Scene
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLOTHES, FACE_SKIN, HAIR, OTHERS

SIZE = 100
PHOTO = Photo(np.zeros((SIZE, SIZE, 3), np.uint8))


def _face(x, y, radius=10.0, *, presence=1.0, turn=0.0):
    """Return a round face around (x, y), nose in the middle or moved sideways."""
    points = np.full((468, 2), (x, y), float)
    angles = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    points[list(OVAL)] = np.stack([x + radius * np.sin(angles), y - radius * np.cos(angles)], axis=1)
    points[FOREHEAD], points[CHIN] = (x, y - radius), (x, y + radius)
    points[RIGHT_CHEEK], points[LEFT_CHEEK] = (x - radius, y), (x + radius, y)
    points[NOSE] = (x + 2 * radius * turn, y)
    return FaceMesh(points, presence)


def _pose(box, *, nose=None, score=1.0):
    """Return a body that fills ``box`` of the 100 x 100 photo."""
    left, top, right, bottom = box
    logits = np.full((256, 256), -140, np.float32)
    edges = [round(edge * 256 / SIZE) for edge in box]
    logits[edges[1] : edges[3], edges[0] : edges[2]] = 140
    points = np.full((39, 2), ((left + right) / 2, (top + bottom) / 2), float)
    points[0] = nose or (points[0, 0], top)
    return Pose(points, np.ones(39), score, Square(SIZE / 2, SIZE / 2, SIZE), logits)


def _class_map(**regions):
    """Return a map that is background except for boxes of classes."""
    probabilities = np.zeros((SIZE, SIZE, 6), np.float32)
    probabilities[..., BACKGROUND] = 1
    numbers = {"hair": HAIR, "body": BODY_SKIN, "face": FACE_SKIN, "clothes": CLOTHES, "others": OTHERS}
    for name, (left, top, right, bottom) in regions.items():
        probabilities[top:bottom, left:right] = np.eye(6, dtype=np.float32)[numbers[name]]
    return ClassMap(probabilities, (SIZE, SIZE))


def _person(class_map):
    return 1 - class_map.probabilities_hwC[..., BACKGROUND]


def test_two_meshes_on_one_face_are_one():
    assert len(find_faces.without_doubles([_face(50, 50), _face(54, 52)])) == 1


def test_a_forehead_taken_for_a_face_is_a_double():
    assert len(find_faces.without_doubles([_face(50, 50, 10), _face(48, 37, 10)])) == 1


def test_neighbouring_faces_stay_two():
    assert len(find_faces.without_doubles([_face(30, 50), _face(52, 50)])) == 2


def test_turn_is_zero_from_the_front_and_grows_sideways():
    assert _face(50, 50).turn == pytest.approx(0)
    assert _face(50, 50, turn=-0.4).turn == pytest.approx(0.4)


def test_fits_of_one_body_are_merged_into_the_better():
    good = find_bodies.Body(_pose((20, 20, 60, 90)), None, 0.0, True)
    poor = find_bodies.Body(_pose((22, 20, 60, 88), score=0.6), None, 0.0, True)
    assert find_bodies.without_doubles([poor, good], PHOTO) == [good]


def test_overlapping_bodies_of_different_faces_are_both_kept():
    one = find_bodies.Body(_pose((20, 20, 60, 90), nose=(30, 20)), 0, 0.0, True)
    two_pose = _pose((20, 25, 60, 90))
    two_pose.points[:] += (8, 0)
    assert len(find_bodies.without_doubles([one, find_bodies.Body(two_pose, 1, 0.0, True)], PHOTO)) == 2


def test_two_fits_for_one_face_leave_one():
    one = find_bodies.Body(_pose((10, 20, 40, 90)), 0, 0.1, True)
    two = find_bodies.Body(_pose((50, 20, 90, 90)), 0, 0.4, True)
    assert find_bodies.without_doubles([two, one], PHOTO) == [one]


def test_person_box_holds_the_body_and_the_head():
    box = person_box(Figure(_face(50, 20, 5), _pose((30, 40, 70, 90))))
    assert box is not None
    assert box[1] < 20
    assert box[2:] == pytest.approx((70, 90), abs=1)


def test_a_dark_suit_that_only_the_body_mask_sees_becomes_clothes():
    joined = join_bodies(_class_map(), Scene((Figure(None, _pose((30, 40, 70, 90))),), {}))
    assert joined.probabilities_hwC[60, 50].argmax() == CLOTHES
    assert joined.probabilities_hwC[20, 50].argmax() == BACKGROUND
    assert joined.probabilities_hwC.sum(axis=-1) == pytest.approx(1, abs=1e-5)


def test_the_body_mask_adds_nothing_above_a_head_that_was_seen_clearly():
    scene = Scene((Figure(_face(50, 30), _pose((30, 5, 70, 90))),), {})
    joined = join_bodies(_class_map(face=(40, 20, 60, 40)), scene)
    assert _person(joined)[12, 50] < 0.1
    assert _person(joined)[80, 50] > 0.9


def test_a_small_person_like_island_without_evidence_is_dropped():
    scene = Scene((Figure(_face(20, 20), _pose((10, 10, 30, 90))),), {})
    joined = join_bodies(_class_map(clothes=(80, 80, 90, 90), face=(12, 12, 28, 28)), scene)
    assert _person(joined)[85, 85] == 0
    assert _person(joined)[20, 20] == 1


def test_hair_far_from_every_head_is_a_thing():
    scene = Scene((Figure(_face(20, 20), _pose((10, 10, 30, 90))),), {})
    assert _person(join_bodies(_class_map(hair=(80, 80, 90, 90)), scene))[85, 85] == 0


def test_without_anybody_an_animals_face_is_background_and_a_torso_is_not():
    nobody = Scene((), {})
    assert _person(join_bodies(_class_map(face=(10, 10, 60, 60)), nobody)).max() == 0
    assert _person(join_bodies(_class_map(clothes=(10, 10, 60, 60)), nobody))[30, 30] == 1


def test_flesh_share_tells_a_cup_from_a_body():
    cup = np.array([[0.2, 0.0, 0.05, 0.3, 0.05, 0.4]], np.float32)
    body = np.array([[0.1, 0.05, 0.2, 0.05, 0.5, 0.1]], np.float32)
    assert flesh_share(cup) == pytest.approx(0.125)
    assert flesh_share(body) == pytest.approx(0.7 / 0.9)


def test_where_nobody_was_found_what_is_small_beside_the_largest_island_is_a_thing():
    largest, second, lamp = (10, 10, 50, 90), (60, 10, 80, 60), (85, 70, 95, 80)
    joined = join_bodies(_class_map(clothes=largest, body=second, others=lamp), Scene((), {}))
    assert _person(joined)[50, 30] == _person(joined)[30, 70] == 1
    beside = join_bodies(_class_map(clothes=largest, body=lamp), Scene((), {}))
    assert _person(beside)[50, 30] == 1
    assert not _person(beside)[70:80, 85:95].any()


def test_each_contested_pixel_goes_to_the_stronger_claim():
    weak = _pose((30, 10, 90, 90))
    weak.mask_logits[weak.mask_logits > 0] = 2
    figures = (Figure(None, _pose((10, 10, 50, 90))), Figure(None, weak))
    claims = ownership(figures, _class_map(clothes=(10, 10, 90, 90)))
    owner = claims.argmax(axis=0)
    assert owner[50, 40] == 0
    assert owner[50, 70] == 1
    assert (claims[:, 5, 5] < 0).all()


def test_hair_beside_a_face_belongs_to_that_face_not_to_the_neighbours_body():
    figures = (Figure(_face(30, 20), _pose((25, 10, 35, 90))), Figure(_face(75, 20), _pose((38, 10, 90, 90))))
    claims = ownership(figures, _class_map(hair=(18, 8, 46, 30)))
    assert claims.argmax(axis=0)[20, 42] == 0
    assert claims[0, 20, 42] > 0


def test_a_person_without_a_body_owns_the_head_only():
    claims = ownership((Figure(_face(50, 20), None),), _class_map(face=(40, 10, 60, 30), clothes=(30, 32, 70, 90)))
    assert claims[0, 20, 50] > 0
    assert claims[0, 80, 50] < 0


def test_faces_are_those_of_the_scene_where_it_is_known_and_are_sought_alone_where_it_is_not(monkeypatch):
    sought = []
    monkeypatch.setattr(scene, "find_faces", lambda photo: sought.append(photo) or [_face(10, 10)])
    monkeypatch.setattr(
        scene, "find_scene", lambda photo: Scene((Figure(_face(50, 50), None), Figure(None, _pose((0, 0, 9, 9)))), {})
    )
    known, unknown = (Photo(np.full((SIZE, SIZE, 3), grey, np.uint8)) for grey in (201, 202))
    scene.scene_of(known)
    assert [face.box for face in scene.faces_of(known)] == [_face(50, 50).box]
    assert sought == []
    assert [face.box for face in scene.faces_of(unknown)] == [_face(10, 10).box]
    assert sought == [unknown]


def test_a_thing_beyond_a_body_is_background_however_much_it_looks_like_clothes():
    scene_of_one = Scene((Figure(None, _pose((40, 20, 60, 90))),), {})
    person = _person(join_bodies(_class_map(clothes=(40, 20, 95, 60)), scene_of_one))
    assert person[40, 50] > 0.5
    assert person[40, 62] > 0.5, "three hundredths of the crop around the body mask belong to the person"
    assert person[40, 70:].max() == 0


def test_hair_and_a_hat_beside_a_verified_head_stay():
    face = _face(50, 30)
    head = Scene((Figure(face, _pose((45, 40, 55, 90))),), {})
    person = _person(join_bodies(_class_map(hair=(35, 10, 65, 50)), head))
    assert person[15, 40] > 0.5


def test_only_a_head_has_a_face():
    figure = Figure(_face(50, 20, radius=8), _pose((30, 20, 70, 95)))
    probabilities = join_bodies(_class_map(face=(30, 20, 70, 95)), Scene((figure,), {})).probabilities_hwC
    best = probabilities.argmax(axis=-1)
    assert best[20, 50] == FACE_SKIN
    assert best[80, 50] == BODY_SKIN


def test_a_face_without_a_fitted_body_keeps_its_trunk():
    person = _person(
        join_bodies(_class_map(clothes=(0, 0, 100, 100)), Scene((Figure(_face(50, 20, radius=8), None),), {}))
    )
    assert person[60, 50] > 0.5
    assert person[60, 5] == 0


def test_black_places_are_no_face_unless_a_verified_face_is_there():
    half_black = np.full((SIZE, SIZE, 3), 200, np.uint8)
    half_black[:, SIZE // 2 :] = 0
    photo = Photo(half_black)
    all_face = np.zeros((256, 256, 6), np.float32)
    all_face[..., FACE_SKIN] = 1
    # So large that its head is no crop of its own.
    in_shade = _face(75, 50, radius=20.0, turn=0.4)
    mapped = map_classes(photo, Scene((Figure(in_shade, None),), {photo.box: all_face})).probabilities_hwC
    best = mapped.argmax(axis=-1)
    assert (best[:, :48] == FACE_SKIN).all()
    assert best[50, 75] == FACE_SKIN
    assert (best[:20, 52:] == BACKGROUND).all()
    assert np.allclose(mapped.sum(axis=-1), 1)
