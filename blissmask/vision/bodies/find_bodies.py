"""The bodies of a photo: detected or searched below a face, linked to faces, each person once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.pose import LEFT_EAR, NOSE, RIGHT_EAR, Pose, fit_pose
from blissmask.vision.bodies.pose_detector import MARGIN, detect_poses
from blissmask.vision.cores import side_by_side
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.photo import Photo
from blissmask.vision.regions import Square

# All numbers of this file were chosen by eye on the design photos, see `vision/__init__.py`.

LINK_DISTANCE = 0.5
"""A body belongs to the nearest face if their noses are closer than this many face widths."""

AGREEING_DISTANCE = 0.25
AGREEING_QUALITY = 0.5
SMALLEST_EAR_DISTANCE, LARGEST_EAR_DISTANCE = 0.5, 1.6
"""A detected body fits a face if the noses are this close, its landmarks this visible and its ears this far apart.

Distances are in face widths. No better body is searched below such a face.
"""

HIP_BELOW_FACE = (3.6, 2.8)
"""Where hips are searched below a face, in face sizes: of standing and of sitting people."""

SEARCHED_REACH = 1.15
"""Radius of a searched body in distances from nose to hips: the circle around a body reaches beyond the head."""

SEARCHED_DISTANCE = 0.45
"""The nose of a searched body must lie within this many face sizes of the face's."""

THUMBNAIL_SIDE = 256
"""Bodies are compared by their masks on a small copy of the photo with this long side."""

SMALLEST_BODY = 100
"""Photo pixels; a smaller mask has no outline to speak of."""

SAME_FIT = 0.03
"""Bodies of different faces are one person if their landmarks lie this close, as a share of the smaller region."""

SAME_LANDMARKS, SAME_IOU, SAME_SHARE = 0.06, 0.5, 0.8
"""Other bodies are one person if any of these agrees.

Landmarks closer than a share of the smaller region, a larger intersection over union of the masks, or a larger share of
the smaller mask.
"""

COMPARED_POINTS = 25
"""Bodies are compared by these first landmarks, from nose to hips; knees and feet are often guessed."""


@dataclass(frozen=True, slots=True)
class Body:
    """A fitted pose and the face it belongs to.

    Attributes:
        pose: landmarks and mask.
        face: position in the list of faces, None without one.
        distance: between the noses, in face widths; 0 without a face.
        detected: True from the pose detector, False from a search below a face.
    """

    pose: Pose
    face: int | None
    distance: float
    detected: bool

    @property
    def rank(self) -> float:
        """A higher rank is the better fit of one person: a face weighs most, then visibility and score."""
        return (
            (self.face is not None)
            + self.pose.quality
            + 0.3 * self.pose.score
            - 0.6 * self.distance
            + 0.1 * self.detected
        )


def find_bodies(photo: Photo, faces: Sequence[FaceMesh]) -> list[Body]:
    """Return the bodies of a photo, each person once.

    A body without a face is a candidate only: the pose network sees people in things, see ``faceless.py``.
    """

    def fit(region: Square) -> Pose | None:
        return fit_pose(photo, region)

    def search(face: FaceMesh) -> Pose | None:
        return _search_below(photo, face)

    detected = [pose for pose in side_by_side(fit, detect_poses(photo)) if pose is not None]
    bodiless = [face for face in faces if not any(_agrees(pose, face) for pose in detected)]
    searched = [pose for pose in side_by_side(search, bodiless) if pose is not None]
    bodies = [_link(pose, faces, detected=True) for pose in detected]
    bodies += [_link(pose, faces, detected=False) for pose in searched]
    return without_doubles(bodies, photo)


def without_doubles(bodies: Sequence[Body], photo: Photo) -> list[Body]:
    """Keep the best fit of each person, best first.

    Bodies that belong to different faces are different people unless they are nearly the same fit. Without this rule,
    one seated woman of six in a design photo was lost.
    """
    scale = min(1.0, THUMBNAIL_SIDE / max(photo.width, photo.height))
    size_wh = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    kept: list[tuple[Body, NDArray[np.bool_]]] = []
    for body in sorted(bodies, key=_descending_rank):
        mask = body.pose.logits_in(photo.box, size_wh) > 0
        if mask.sum() < SMALLEST_BODY * scale * scale or not mask.any():
            continue
        if not any(_same_person(body, mask, other, other_mask) for other, other_mask in kept):
            kept.append((body, mask))
    return [body for body, _ in kept]


def _descending_rank(body: Body) -> float:
    return -body.rank


def _same_person(body: Body, mask: NDArray[np.bool_], other: Body, other_mask: NDArray[np.bool_]) -> bool:
    between = body.pose.points[:COMPARED_POINTS] - other.pose.points[:COMPARED_POINTS]
    shift = np.linalg.norm(between, axis=1).mean()
    shift /= max(1.0, min(body.pose.region.side, other.pose.region.side))
    if body.face is not None and other.face is not None:
        return body.face == other.face or bool(shift < SAME_FIT)
    shared = np.count_nonzero(mask & other_mask)
    iou = shared / np.count_nonzero(mask | other_mask)
    inside = shared / min(np.count_nonzero(mask), np.count_nonzero(other_mask))
    return bool(shift < SAME_LANDMARKS or iou > SAME_IOU or inside > SAME_SHARE)


def _link(pose: Pose, faces: Sequence[FaceMesh], *, detected: bool) -> Body:
    """Return the pose with the nearest face, without one when none is near."""
    distances = [float(np.linalg.norm(pose.points[NOSE] - face.nose)) / face.width for face in faces]
    nearest = int(np.argmin(distances)) if distances else 0
    if not distances or distances[nearest] >= LINK_DISTANCE:
        return Body(pose, face=None, distance=0.0, detected=detected)
    return Body(pose, face=nearest, distance=distances[nearest], detected=detected)


def _agrees(pose: Pose, face: FaceMesh) -> bool:
    """Return whether a detected pose fits a face so well that no better one need be searched."""
    near = np.linalg.norm(pose.points[NOSE] - face.nose) < AGREEING_DISTANCE * face.width
    ears = float(np.linalg.norm(pose.points[LEFT_EAR] - pose.points[RIGHT_EAR])) / face.width
    return bool(near) and pose.quality > AGREEING_QUALITY and SMALLEST_EAR_DISTANCE < ears < LARGEST_EAR_DISTANCE


def _search_below(photo: Photo, face: FaceMesh) -> Pose | None:
    """Fit a body at several places below a face; return the pose whose nose is nearest to the face's."""
    best: Pose | None = None
    best_rank = -np.inf
    # Straight down, and along the face: a tilted head may sit on an upright body or on a lying one.
    for down in (np.array([0.0, 1.0]), -face.up):
        for face_sizes in HIP_BELOW_FACE:
            reach = face.size * face_sizes
            hip = face.nose + down * reach
            region = Square(
                x=float(hip[0]),
                y=float(hip[1]),
                side=2 * MARGIN * SEARCHED_REACH * reach,
                angle=float(np.arctan2(-down[1], -down[0]) + np.pi / 2),
            )
            pose = fit_pose(photo, region)
            if pose is None:
                continue
            miss = float(np.linalg.norm(pose.points[NOSE] - face.nose)) / face.size
            rank = pose.score - miss / 2
            if miss < SEARCHED_DISTANCE and rank > best_rank:
                best, best_rank = pose, rank
    return best
