"""The built-in backend counts the faces that its masks have, so that "no face" is told of those that have none."""

import numpy as np

from blissmask.parsing.embedded import _faces_in
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.selfie_multiclass import BODY_SKIN, FACE_SKIN


def face(left, top, right, bottom):
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
    return FaceMesh(np.tile(corners, (117, 1)), presence=1.0)


def labels(row, column, label=FACE_SKIN):
    painted = np.full((60, 100), BODY_SKIN, np.uint8)
    painted[row, column] = label
    return painted


def test_a_face_is_counted_where_the_mask_has_it():
    assert _faces_in(labels(20, 30), [face(25, 15, 35, 25)]) == 1


def test_a_face_that_the_mask_has_lost_is_not_counted():
    assert _faces_in(labels(20, 30), [face(60, 15, 70, 25)]) == 0
    assert _faces_in(labels(20, 30, BODY_SKIN), [face(25, 15, 35, 25)]) == 0


def test_a_face_that_reaches_over_the_frame_is_looked_for_within_it():
    assert _faces_in(labels(59, 99), [face(90, 50, 120, 80)]) == 1
    assert _faces_in(labels(0, 0), [face(-20, -20, 5, 5), face(-50, -50, -10, -10)]) == 1
