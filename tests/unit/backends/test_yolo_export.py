"""people/yolo_export.py: both layouts of YOLO-seg exports, at the photo's own size."""

from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import ModelError
from blissmask.people.yolo_export import (
    Candidates,
    ExportFacts,
    find_candidates,
    letterbox,
    outline_candidates,
    read_facts,
)

FACTS = ExportFacts(person=0, class_count=2, size_wh=(64, 64))
COEFFICIENTS = 3


def rows_of(*candidates):
    """Return the older layout; a candidate is (corners, person score, dog score)."""
    columns = []
    for (left, top, right, bottom), person, dog in candidates:
        columns.append([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, person, dog, 1, 0, 0])
    return np.array(columns, np.float32).T[None]


def test_photo_is_fitted_into_the_middle():
    photo = letterbox(np.full((20, 40, 3), 255, np.uint8), (64, 64))
    assert (photo.left, photo.top, photo.scale_xy) == (0, 16, (1.6, 1.6))
    assert photo.pixels_13hw[0, :, 15].max() == pytest.approx(114 / 255)
    assert photo.pixels_13hw[0, :, 16:48].min() == 1


def test_overlapping_boxes_are_thinned_out_and_other_classes_left_alone():
    rows = rows_of(
        ((0, 0, 30, 60), 0.6, 0), ((1, 0, 30, 60), 0.9, 0), ((32, 0, 64, 60), 0.5, 0), ((0, 0, 64, 64), 0.4, 0.8)
    )
    found = find_candidates(rows, FACTS, COEFFICIENTS, min_score=0.25)
    assert found.scores_N.tolist() == pytest.approx([0.9, 0.5])
    assert found.boxes_N4[0].tolist() == [1, 0, 30, 60]
    assert found.coefficients_NK.shape == (2, COEFFICIENTS)


def test_newer_layout_gives_the_same_candidates():
    older = find_candidates(
        rows_of(((1, 0, 30, 60), 0.9, 0), ((32, 0, 64, 60), 0.5, 0)), FACTS, COEFFICIENTS, min_score=0.25
    )
    rows = np.array(
        [[[32, 0, 64, 60, 0.5, 0, 1, 0, 0], [1, 0, 30, 60, 0.9, 0, 1, 0, 0], [0, 0, 9, 9, 0.9, 1, 1, 0, 0]]], np.float32
    )
    newer = find_candidates(rows, FACTS, COEFFICIENTS, min_score=0.25)
    assert (newer.boxes_N4 == older.boxes_N4).all()
    assert (newer.scores_N == older.scores_N).all()


def test_nobody_above_the_score_is_nobody():
    assert len(find_candidates(rows_of(((0, 0, 30, 60), 0.2, 0)), FACTS, COEFFICIENTS, min_score=0.25).scores_N) == 0


def test_output_of_another_network_is_refused():
    with pytest.raises(ModelError, match="no YOLO-seg layout"):
        find_candidates(np.zeros((1, 84, 100), np.float32), FACTS, COEFFICIENTS, min_score=0.25)


def test_outline_lies_where_the_prototype_is_bright():
    """Columns 4..8 of 16 prototype columns are 16..32 of the network's picture and 32..64 of a photo twice its size."""
    prototypes = np.full((1, 16, 16), -8, np.float32)
    prototypes[0, :, 4:8] = 8
    photo = letterbox(np.zeros((128, 128, 3), np.uint8), (64, 64))
    whole = Candidates(np.array([[0, 0, 64, 64]], np.float32), np.array([0.9], np.float32), np.ones((1, 1), np.float32))
    (outline,) = outline_candidates(whole, prototypes, photo)
    inside = np.flatnonzero((outline.probability_hw > 0.5).all(axis=0))
    assert outline.probability_hw.shape == (128, 128)
    assert (inside[0], inside[-1]) == (32, 63)


def test_outline_ends_at_its_box():
    photo = letterbox(np.zeros((64, 64, 3), np.uint8), (64, 64))
    box = Candidates(np.array([[10, 20, 30, 40]], np.float32), np.array([0.9], np.float32), np.ones((1, 1), np.float32))
    (outline,) = outline_candidates(box, np.full((1, 16, 16), 8, np.float32), photo)
    assert (outline.left, outline.top, outline.probability_hw.shape) == (10, 20, (20, 20))


def test_box_in_the_padding_is_nobody():
    photo = letterbox(np.zeros((20, 40, 3), np.uint8), (64, 64))
    padding = Candidates(
        np.array([[0, 0, 64, 10]], np.float32), np.array([0.9], np.float32), np.ones((1, 1), np.float32)
    )
    assert outline_candidates(padding, np.full((1, 16, 16), 8, np.float32), photo) == []


def test_person_is_found_by_name_and_fixed_sides_win_over_the_noted_size():
    metadata = {"names": "{0: 'dog', 3: 'Person'}", "imgsz": "[640, 480]", "task": "segment"}
    assert read_facts(metadata, [1, 3, 64, 32], Path("x.onnx")) == ExportFacts(
        person=3, class_count=2, size_wh=(32, 64)
    )
    assert read_facts(metadata, [1, 3, "height", "width"], Path("x.onnx")).size_wh == (480, 640)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "does not name its classes"),
        ({"names": "{0: 'dog'}"}, "none of the model's 1 classes is `person`"),
        ({"names": "{0: 'person'}", "task": "detect"}, "for `detect`, not `segment`"),
        ({"names": "__import__('os')"}, "does not name its classes"),
    ],
)
def test_files_that_do_not_outline_people_are_refused(metadata, message):
    with pytest.raises(ModelError, match=message):
        read_facts(metadata, [1, 3, 64, 64], Path("x.onnx"))
