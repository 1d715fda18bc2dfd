"""Bodies without a face: doubt those that are things, and seek those that the detector missed.

The pose network sees people in cups and lamps, and misses people behind others; the body-parts network knows neither
poses nor people, but it knows what skin and clothes look like. Maps here are 256 x 256, the whole photo stretched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.pose import BODY_POINTS, UPPER_BODY, Pose, fit_pose
from blissmask.vision.bodies.pose_detector import DETECTOR, region_of
from blissmask.vision.detection import merge
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Box, Square, box_of, box_to_crop, move, square_around
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLOTHES, SIZE, Looks

MIN_PERSON = 0.3
"""Smallest mean person probability at the head, shoulders and hips of a body."""

MIN_FLESH = 0.2
"""Smallest share of skin and clothes in what is seen of a person; a cup (0.10) is face and things, people had 0.33 and more."""

LARGE_FIGURE = 0.4
"""Share of the photo's height from which a figure is judged on the whole photo; its own crop would make anything look like a person."""

VISIBLE = 0.3
MIN_VISIBLE_POINTS = 5

SMALLEST_REGION = 0.004
MOST_REGIONS = 4
"""Person-like regions that no body explains: smallest share of the photo, and how many are searched, largest first."""

MIN_EXPLAINED, MOST_SHARED = 0.4, 0.5
"""A body found there must cover this share of the region and may share at most this part of itself with what others explain."""

COVERING_LOGIT = -1.0
HEAD_SCALE = 2.2


def looks_human(looks: Looks, pose: Pose) -> bool:
    """Say whether the body-parts network too sees a person where a body without a face was fitted."""
    seen = pose.points[:BODY_POINTS][pose.visibility[:BODY_POINTS] > VISIBLE]
    if len(seen) < MIN_VISIBLE_POINTS:
        return False
    box = box_of(seen)
    large = box[3] - box[1] >= LARGE_FIGURE * looks.photo.height
    area = looks.photo.box if large else square_around(box, margin=0.4).box()
    parts = looks.at(area)
    upper = [index for index in UPPER_BODY if pose.visibility[index] > VISIBLE]
    spots = np.floor(move(pose.points[upper], box_to_crop(area, SIZE))).astype(int)
    spots = spots[((spots >= 0) & (spots < SIZE)).all(axis=1)]
    if len(spots) < 2 or 1 - parts[spots[:, 1], spots[:, 0], BACKGROUND].mean() < MIN_PERSON:
        return False
    return flesh_share(parts[pose.logits_in(area, (SIZE, SIZE)) > 0]) >= MIN_FLESH


def flesh_share(parts_NC: NDArray[np.float32]) -> float:
    """Return which share of the person probability of some pixels is skin of the body and clothes, 0..1; 0 without pixels."""
    total = parts_NC.sum(axis=0, dtype=np.float64)
    return float((total[BODY_SKIN] + total[CLOTHES]) / max(total.sum() - total[BACKGROUND], 1e-9))


def seek_unexplained(looks: Looks, faces: Sequence[FaceMesh], poses: Sequence[Pose]) -> list[Pose]:
    """Return bodies in person-like regions that no known face or body explains: people behind others, or with a hidden face."""
    photo = looks.photo
    explained = _explained(photo, faces, poses)
    unexplained = ((looks.overview()[..., BACKGROUND] < 0.5) & ~explained).astype(np.uint8)
    unexplained = cv2.morphologyEx(unexplained, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(unexplained, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    found: list[Pose] = []
    for label in 1 + np.argsort(-areas, kind="stable")[:MOST_REGIONS]:
        if stats[label, cv2.CC_STAT_AREA] < SMALLEST_REGION * SIZE * SIZE:
            break
        pose = _best_fit(photo, labels == label, explained, _box_in_photo(photo, stats[label]))
        if pose is not None:
            found.append(pose)
            explained |= _cover(photo, pose)
    return found


def _best_fit(photo: Photo, region: NDArray[np.bool_], explained: NDArray[np.bool_], box: Box) -> Pose | None:
    best: tuple[float, Pose] | None = None
    for square in _seeds(photo, box):
        pose = fit_pose(photo, square)
        if pose is None:
            continue
        body = pose.logits_in(photo.box, (SIZE, SIZE)) > 0
        covers = np.count_nonzero(body & region) / float(region.sum())
        shared = np.count_nonzero(body & explained) / max(1.0, float(body.sum()))
        if covers > MIN_EXPLAINED and shared < MOST_SHARED and (best is None or covers - shared > best[0]):
            best = (covers - shared, pose)
    return best[1] if best else None


def _seeds(photo: Photo, box: Box) -> Iterator[Square]:
    """Yield where a body may be: what the detector sees close by, at a lower score than on the whole photo, and the region itself."""
    for margin in (0.25, 1.0):
        near = merge([DETECTOR.detect(photo, square_around(box, margin=margin), min_score=0.3)], contained=0.7)
        for points in near.points_NK2:
            yield region_of(points[0], points[1])
    around = square_around(box)
    yield Square(around.x, around.y + 0.05 * (box[3] - box[1]), 1.3 * around.side)


def _explained(photo: Photo, faces: Sequence[FaceMesh], poses: Sequence[Pose]) -> NDArray[np.bool_]:
    explained = np.zeros((SIZE, SIZE), np.uint8)
    to_map = box_to_crop(photo.box, SIZE)
    for face in faces:
        left, top, right, bottom = face.head(HEAD_SCALE).box()
        corners = move(np.array([[left, top], [right, bottom]]), to_map).astype(int).tolist()
        cv2.rectangle(explained, corners[0], corners[1], 1, thickness=-1)
    result = explained.astype(bool)
    for pose in poses:
        result |= _cover(photo, pose)
    return result


def _cover(photo: Photo, pose: Pose) -> NDArray[np.bool_]:
    return pose.logits_in(photo.box, (SIZE, SIZE)) > COVERING_LOGIT


def _box_in_photo(photo: Photo, stats: NDArray[np.int32]) -> Box:
    left, top, width, height = (float(value) for value in stats[:4])
    across, down = photo.width / SIZE, photo.height / SIZE
    return left * across, top * down, (left + width) * across, (top + height) * down
