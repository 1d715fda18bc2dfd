"""What only a body mask takes for a person is doubted where the photo has edges around it and no bone runs through."""

import numpy as np
import pytest

from blissmask.vision.bodies.pose import Pose
from blissmask.vision.class_map import ClassMap
from blissmask.vision.in_front import share_in_front
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Square
from blissmask.vision.scene import Figure, Scene
from blissmask.vision.selfie_multiclass import BACKGROUND, CLASSES, CLOTHES

SIZE = 200
BODY = (slice(20, 190), slice(40, 160))
BOX = (slice(90, 150), slice(70, 130))
LEFT_HIP, LEFT_KNEE = 23, 25


def _map(*, clothes):
    """Return a class map that is clothes in ``clothes`` and background elsewhere."""
    probabilities = np.zeros((SIZE, SIZE, len(CLASSES)), np.float32)
    probabilities[..., BACKGROUND] = 1
    for region, share in clothes:
        probabilities[region] = 0
        probabilities[(*region, BACKGROUND)] = 1 - share
        probabilities[(*region, CLOTHES)] = share
    return ClassMap(probabilities, (SIZE, SIZE))


def _photo(*, box_is_seen=True):
    rgb = np.full((SIZE, SIZE, 3), 120, np.uint8)
    rgb[BODY] = (30, 30, 60)
    if box_is_seen:
        rgb[BOX] = (220, 180, 40)
    return Photo(rgb)


def _scene(*, knee=(150.0, 195.0), visible=True):
    points = np.full((39, 2), (100.0, 30.0))
    points[LEFT_HIP], points[LEFT_KNEE] = (100, 60), knee
    visibility = np.zeros(39)
    visibility[[LEFT_HIP, LEFT_KNEE]] = float(visible)
    logits = np.zeros((256, 256), np.float32)
    return Scene((Figure(None, Pose(points, visibility, 1.0, Square(100, 100, SIZE), logits)),), {})


JOINED = _map(clothes=[(BODY, 0.9)])
DOUBTED = _map(clothes=[(BODY, 0.9), (BOX, 0.1)])


def test_a_board_over_a_chest_is_doubted():
    share = share_in_front(_photo(), DOUBTED, JOINED, _scene(visible=False))
    assert share == pytest.approx(60 * 60 / SIZE**2, rel=0.05)


def test_cloth_without_an_edge_is_a_lost_part_of_the_body():
    assert share_in_front(_photo(box_is_seen=False), DOUBTED, JOINED, _scene(visible=False)) == 0


def test_what_both_networks_take_for_a_person_is_no_thing():
    assert share_in_front(_photo(), JOINED, JOINED, _scene(visible=False)) == 0


def test_what_is_hardly_background_is_no_thing():
    unsure = _map(clothes=[(BODY, 0.9), (BOX, 0.45)])
    assert share_in_front(_photo(), unsure, JOINED, _scene(visible=False)) == 0


def test_a_region_with_a_visible_leg_is_no_thing():
    assert share_in_front(_photo(), DOUBTED, JOINED, _scene(knee=(100.0, 170.0))) == 0


def test_a_leg_beside_the_region_does_not_matter():
    assert share_in_front(_photo(), DOUBTED, JOINED, _scene(knee=(145.0, 60.0))) > 0
