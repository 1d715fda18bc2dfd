"""Bodies without a face: doubt those that are things, and search those that the detector missed.

The pose network sees people in cups and lamps, and misses people behind others. Selfie Multiclass knows neither poses
nor people, but it knows what skin and clothes look like. Maps here are 256 x 256, the whole photo stretched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.pose import BODY_POINTS, UPPER_BODY, Pose, fit_pose
from blissmask.vision.bodies.pose_detector import detect_in, region_of
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Box, Square, box_of, box_to_crop, move, square_around
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLOTHES, SIZE, BoxClassifier

MIN_PERSON = 0.3
"""Smallest mean person probability at the head, shoulders and hips of a body.

By eye: a higher value, meant to refuse a cup, lost a small person of the design photos too.
"""

MIN_SPOTS = 2
"""So many of these landmarks must lie on the map; by eye."""

MIN_FLESH = 0.2
"""Smallest share of skin and clothes in the person probability of a person.

Measured on the design photos: a cup, which is face and things to the network, has 0.10, and people have 0.33 and more.
"""

LARGE_FIGURE = 0.4
"""Share of the photo's height from which a figure is judged on the whole photo.

By eye: the network takes anything that fills its own crop for a person, so only small figures get one.
"""

CROP_MARGIN = 0.4
"""Margin of a small figure's crop, as a share of its longer side; by eye."""

VISIBLE = 0.3
MIN_VISIBLE_POINTS = 5
"""A landmark counts from this visibility on, a body from this many such landmarks on; by eye."""

SMALLEST_REGION = 0.004
MOST_REGIONS = 4
"""Person-like regions that no body explains: smallest share of the photo, and how many are searched, largest first.

By eye; each search takes several runs of the pose network.
"""

SPECK_PIXELS = 5
"""Regions thinner than this many pixels of the map are not searched; by eye."""

MIN_EXPLAINED, MOST_SHARED = 0.4, 0.5
"""A body found in a region must cover this share of it, and share at most this part of itself with known people.

By eye: otherwise the search finds the known neighbour again.
"""

COVERING_LOGIT = -1.0
"""Mask logit from which a body explains a pixel; by eye. Below 0, since the edges of masks are soft."""

HEAD_SCALE = 2.2
"""Side of the square that a known head explains, in sides of the face; by eye."""

SEARCH_MARGINS = (0.25, 1.0)
SEARCH_SCORE = 0.3
"""Margins of the squares around a region in which the detector searches, and its smallest score there; by eye.

The score is lower than on the whole photo, where every square without a person is a chance of a false one.
"""

REGION_SCALE = 1.3
REGION_DROP = 0.05
"""The region itself is tried as a person: side in longer sides of the region, and shift down in heights; by eye."""


def is_person(classifier: BoxClassifier, pose: Pose) -> bool:
    """Return whether Selfie Multiclass too sees a person where a body without a face was fitted."""
    visible = pose.points[:BODY_POINTS][pose.visibility[:BODY_POINTS] > VISIBLE]
    if len(visible) < MIN_VISIBLE_POINTS:
        return False
    box = box_of(visible)
    large = box[3] - box[1] >= LARGE_FIGURE * classifier.photo.height
    area = classifier.photo.box if large else square_around(box, margin=CROP_MARGIN).box()
    probabilities = classifier.classify(area)
    upper = [index for index in UPPER_BODY if pose.visibility[index] > VISIBLE]
    spots = np.floor(move(pose.points[upper], box_to_crop(area, SIZE))).astype(int)
    spots = spots[((spots >= 0) & (spots < SIZE)).all(axis=1)]
    if len(spots) < MIN_SPOTS or 1 - probabilities[spots[:, 1], spots[:, 0], BACKGROUND].mean() < MIN_PERSON:
        return False
    return flesh_share(probabilities[pose.logits_in(area, (SIZE, SIZE)) > 0]) >= MIN_FLESH


def flesh_share(probabilities_NC: NDArray[np.float32]) -> float:
    """Return the share of skin and clothes in the person probability of N pixels, 0..1; 0 without pixels."""
    total = probabilities_NC.sum(axis=0, dtype=np.float64)
    return float((total[BODY_SKIN] + total[CLOTHES]) / max(total.sum() - total[BACKGROUND], 1e-9))


def search_unexplained(classifier: BoxClassifier, faces: Sequence[FaceMesh], poses: Sequence[Pose]) -> list[Pose]:
    """Return bodies in person-like regions that no known face or body explains.

    These are people behind others, and people whose face is hidden.
    """
    photo = classifier.photo
    explained = _explained(photo, faces, poses)
    unexplained = ((classifier.classify_photo()[..., BACKGROUND] < 0.5) & ~explained).astype(np.uint8)
    unexplained = cv2.morphologyEx(unexplained, cv2.MORPH_OPEN, np.ones((SPECK_PIXELS, SPECK_PIXELS), np.uint8))
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
    """Return the body that explains most of a region, None when no body explains enough of it."""
    best: Pose | None = None
    best_rank = -np.inf
    for square in _places(photo, box):
        pose = fit_pose(photo, square)
        if pose is None:
            continue
        body = pose.logits_in(photo.box, (SIZE, SIZE)) > 0
        covers = np.count_nonzero(body & region) / float(region.sum())
        shared = np.count_nonzero(body & explained) / max(1.0, float(body.sum()))
        if covers > MIN_EXPLAINED and shared < MOST_SHARED and covers - shared > best_rank:
            best, best_rank = pose, covers - shared
    return best


def _places(photo: Photo, box: Box) -> Iterator[Square]:
    """Yield the squares in which a body may be: the detections near a region, then the region itself."""
    for margin in SEARCH_MARGINS:
        near = detect_in(photo, square_around(box, margin=margin), min_score=SEARCH_SCORE)
        for points in near.points_NK2:
            yield region_of(points[0], points[1])
    around = square_around(box)
    yield Square(around.x, around.y + REGION_DROP * (box[3] - box[1]), REGION_SCALE * around.side)


def _explained(photo: Photo, faces: Sequence[FaceMesh], poses: Sequence[Pose]) -> NDArray[np.bool_]:
    """Return the pixels of the map that known heads and bodies cover."""
    heads = np.zeros((SIZE, SIZE), np.uint8)
    to_map = box_to_crop(photo.box, SIZE)
    for face in faces:
        left, top, right, bottom = face.head(HEAD_SCALE).box()
        corners = move(np.array([[left, top], [right, bottom]]), to_map).astype(int).tolist()
        cv2.rectangle(heads, corners[0], corners[1], 1, thickness=-1)
    explained = heads.astype(bool)
    for pose in poses:
        explained |= _cover(photo, pose)
    return explained


def _cover(photo: Photo, pose: Pose) -> NDArray[np.bool_]:
    return pose.logits_in(photo.box, (SIZE, SIZE)) > COVERING_LOGIT


def _box_in_photo(photo: Photo, stats: NDArray[np.int32]) -> Box:
    left, top, width, height = (float(value) for value in stats[:4])
    across, down = photo.width / SIZE, photo.height / SIZE
    return left * across, top * down, (left + width) * across, (top + height) * down
