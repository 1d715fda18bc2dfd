"""What the single-shot detectors of faces and people share: anchors, decoding and merging.

A = anchors, N = detections, K = key points. Source: MediaPipe's ``SsdAnchorsCalculator``,
``TensorsToDetectionsCalculator`` and ``NonMaxSuppressionCalculator``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.photo import Photo, network_input
from blissmask.vision.regions import Square, invert, move
from blissmask.vision.session import run

SAME_IOU = 0.3
"""Detections with a larger intersection over union are one thing.

Source: ``min_suppression_threshold`` of MediaPipe's face and pose detection graphs.
"""

CONTAINED = 0.7
"""A box that lies within a better one by more than this share is the same thing, seen in part by another tile.

By eye; MediaPipe has no tiles and no such rule.
"""


@dataclass(frozen=True, slots=True)
class Detections:
    """Scored boxes with key points, in photo pixels.

    Attributes:
        boxes_N4: left, top, right, bottom.
        scores_N: confidence, 0..1.
        points_NK2: key points (x, y).
    """

    boxes_N4: NDArray[np.float64]
    scores_N: NDArray[np.float64]
    points_NK2: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores_N)

    def pick(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Return some of the detections, by mask or by positions."""
        return Detections(self.boxes_N4[which], self.scores_N[which], self.points_NK2[which])


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector network.

    Attributes:
        name: stem of its weights file.
        size: side of its square input, pixels.
        layers: (stride, anchors per cell) of its feature maps, in output order.
        points: key points per detection.
        anchors_A2: anchor centres (x, y) in input pixels, computed from ``layers``.
    """

    name: str
    size: int
    layers: tuple[tuple[int, int], ...]
    points: int
    anchors_A2: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors_A2", anchors(self.size, self.layers))

    def detect(self, photo: Photo, tile: Square, *, min_score: float) -> Detections:
        """Return the detections in one unturned square of the photo, unmerged, in photo coordinates."""
        to_crop = tile.to_crop(self.size)
        crop = photo.cut(to_crop, self.size)
        raw_boxes_1AC, raw_scores_1A1 = run(self.name, network_input(crop, lowest=-1))
        found = decode(raw_boxes_1AC[0], raw_scores_1A1[0, :, 0], self.anchors_A2, min_score=min_score)
        to_photo = invert(to_crop)
        boxes = move(found.boxes_N4.reshape(-1, 2), to_photo).reshape(-1, 4)
        points = move(found.points_NK2.reshape(-1, 2), to_photo).reshape(-1, self.points, 2)
        return Detections(boxes, found.scores_N, points)


def anchors(size: int, layers: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Return anchor centres, (A, 2) as (x, y) in input pixels: cell by cell in rows, each repeated ``per_cell`` times.

    Args:
        size: side of the network's input, pixels.
        layers: (stride, anchors per cell) of each feature map.
    """
    centres = []
    for stride, per_cell in layers:
        steps = (np.arange(size // stride) + 0.5) * stride
        x, y = np.meshgrid(steps, steps)
        centres.append(np.stack([x, y], axis=-1).reshape(-1, 2).repeat(per_cell, axis=0))
    return np.concatenate(centres)


def decode(
    raw_boxes_AC: NDArray[np.float32],
    raw_scores_A: NDArray[np.float32],
    anchors_A2: NDArray[np.float64],
    *,
    min_score: float,
) -> Detections:
    """Turn raw outputs into boxes and points in input pixels.

    Args:
        raw_boxes_AC: centre x, y relative to the anchor, width, height, then x, y of each key point relative to the
            anchor; all in input pixels.
        raw_scores_A: score logits.
        anchors_A2: anchor centres.
        min_score: smallest score to keep, 0..1.
    """
    scores = sigmoid(raw_scores_A.astype(np.float64))
    keep = scores >= min_score
    pairs = raw_boxes_AC[keep].astype(np.float64).reshape(-1, raw_boxes_AC.shape[1] // 2, 2)
    anchor = anchors_A2[keep]
    centre, half = pairs[:, 0] + anchor, pairs[:, 1] / 2
    return Detections(
        np.concatenate([centre - half, centre + half], axis=1), scores[keep], pairs[:, 2:] + anchor[:, None]
    )


def merge(parts: Sequence[Detections], *, contained: float | None = None) -> Detections:
    """Merge detections of the same thing into their score-weighted mean, best first.

    Args:
        parts: the detections of several tiles; at least one part, which may be empty.
        contained: a box that lies within a better one by more than this share is dropped; None keeps it.
    """
    boxes = np.concatenate([part.boxes_N4 for part in parts])
    scores = np.concatenate([part.scores_N for part in parts])
    points = np.concatenate([part.points_NK2 for part in parts])
    if not len(scores):
        return Detections(boxes, scores, points)
    merged_boxes, merged_scores, merged_points = [], [], []
    remaining = np.argsort(-scores, kind="stable")
    while len(remaining):
        overlap, inside = overlaps(boxes[remaining[0]], boxes[remaining])
        same = overlap > SAME_IOU
        # An empty box does not overlap itself.
        same[0] = True
        group = remaining[same]
        weights = scores[group]
        merged_boxes.append(np.average(boxes[group], 0, weights))
        merged_scores.append(weights[0])
        merged_points.append(np.average(points[group], 0, weights))
        # A contained box is dropped but does not take part in the mean: it shows a part only.
        dropped = same if contained is None else same | (inside > contained)
        remaining = remaining[~dropped]
    return Detections(np.array(merged_boxes), np.array(merged_scores), np.array(merged_points))


def overlaps(
    box_4: NDArray[np.float64], boxes_N4: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the IoU of one box with each of many, and the shared area as a share of the smaller box."""
    size = np.minimum(box_4[2:], boxes_N4[:, 2:]) - np.maximum(box_4[:2], boxes_N4[:, :2])
    shared = np.prod(np.clip(size, 0, None), axis=1)
    area, areas = np.prod(box_4[2:] - box_4[:2]), np.prod(boxes_N4[:, 2:] - boxes_N4[:, :2], axis=1)
    tiny = 1e-9
    return shared / (area + areas - shared + tiny), shared / (np.minimum(area, areas) + tiny)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)); logits beyond 50 are clipped, since their exponentials may overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))))
