"""Anchors, decoding and merging of the single-shot detectors."""

import numpy as np
import pytest

from blissmask.vision.bodies.pose_detector import DETECTOR, region_of
from blissmask.vision.detection import Detections, anchors, decode, merge, overlaps
from blissmask.vision.faces.face_detector import FULL_RANGE, SHORT_RANGE


def _boxes(*rows, points=1):
    boxes = np.array([row[:4] for row in rows], float).reshape(-1, 4)
    scores = np.array([row[4] for row in rows], float)
    return Detections(boxes, scores, np.repeat(boxes[:, None, :2], points, axis=1))


@pytest.mark.parametrize(("detector", "count"), [(FULL_RANGE, 2304), (SHORT_RANGE, 896), (DETECTOR, 2254)])
def test_there_is_one_anchor_per_output_row(detector, count):
    assert detector.anchors_A2.shape == (count, 2)


def test_anchors_run_along_rows_and_repeat_within_a_cell():
    found = anchors(32, [(8, 2), (16, 1)])
    assert found[:4].tolist() == [[4, 4], [4, 4], [12, 4], [12, 4]]
    assert found[8].tolist() == [4, 12]
    assert found[-4:].tolist() == [[8, 8], [24, 8], [8, 24], [24, 24]]


def test_decode_adds_the_anchor_to_centre_and_points_but_not_to_the_size():
    raw = np.array([[1, 2, 10, 20, 3, 4]], np.float32)
    found = decode(raw, np.array([0.0], np.float32), np.array([[100.0, 200.0]]), min_score=0.5)
    assert found.boxes_N4.tolist() == [[96, 192, 106, 212]]
    assert found.points_NK2.tolist() == [[[103, 204]]]
    assert found.scores_N.tolist() == [0.5]


def test_decode_drops_low_scores():
    raw = np.zeros((2, 6), np.float32)
    found = decode(raw, np.array([-0.1, 0.1], np.float32), np.array([[1.0, 1.0], [2.0, 2.0]]), min_score=0.5)
    assert found.points_NK2[:, 0].tolist() == [[2, 2]]


def test_merging_averages_by_score_and_keeps_the_best_score():
    merged = merge([_boxes((0, 0, 10, 10, 0.9)), _boxes((2, 0, 12, 10, 0.3))])
    assert merged.boxes_N4.tolist() == [[0.5, 0, 10.5, 10]]
    assert merged.scores_N.tolist() == [0.9]


def test_separate_boxes_stay_separate_best_first():
    merged = merge([_boxes((0, 0, 10, 10, 0.6), (50, 0, 60, 10, 0.8))])
    assert merged.scores_N.tolist() == [0.8, 0.6]


def test_a_contained_box_is_dropped_without_pulling_the_mean():
    parts = [_boxes((0, 0, 100, 100, 0.9), (10, 10, 30, 30, 0.8))]
    assert merge(parts, contained=0.7).boxes_N4.tolist() == [[0, 0, 100, 100]]
    assert len(merge(parts)) == 2


def test_merging_nothing_gives_nothing():
    assert len(merge([_boxes(points=1)])) == 0


def test_overlap_and_share_of_the_smaller_box():
    iou, inside = overlaps(np.array([0.0, 0, 10, 10]), np.array([[0.0, 0, 5, 10], [20, 20, 30, 30]]))
    assert iou == pytest.approx([0.5, 0])
    assert inside == pytest.approx([1, 0])


def test_person_region_is_upright_when_the_rim_is_above_the_hips():
    region = region_of(np.array([50.0, 80.0]), np.array([50.0, 40.0]))
    assert (region.x, region.y, region.side) == (50, 80, 100)
    assert region.angle == pytest.approx(0)
