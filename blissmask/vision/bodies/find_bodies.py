"""The bodies of a photo: detected or sought below a face, linked to faces, nobody twice."""

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

LINK_DISTANCE = 0.5
"""A body belongs to the nearest face if their noses are closer than this many face widths."""

SEED_DISTANCE = 0.45
HIP_BELOW_FACE = (3.6, 2.8)
"""Where hips are sought below a face, in face sizes: standing and sitting people."""

THUMBNAIL_SIDE = 256
"""Bodies are compared by their masks on a small copy of the photo with this long side."""

SMALLEST_BODY = 100
"""Photo pixels; fewer cannot be outlined."""


@dataclass(frozen=True, slots=True)
class Body:
    """A fitted pose and the face it belongs to.

    Attributes:
        pose: landmarks and mask.
        face: position in the list of faces, None without one.
        distance: of the noses, in face widths; 0 without a face.
        detected: whether the pose detector saw it, rather than a search below a face.
    """

    pose: Pose
    face: int | None
    distance: float
    detected: bool

    @property
    def rank(self) -> float:
        """How much this body is to be preferred over another fit of the same person."""
        return (
            (self.face is not None)
            + self.pose.quality
            + 0.3 * self.pose.score
            - 0.6 * self.distance
            + 0.1 * self.detected
        )


def find_bodies(photo: Photo, faces: Sequence[FaceMesh]) -> list[Body]:
    """Return the bodies of a photo, each person once; a body without a face is a candidate until something else vouches for it."""
    fitted = side_by_side(lambda region: fit_pose(photo, region), detect_poses(photo))
    poses = [pose for pose in fitted if pose is not None]
    bodiless = [face for face in faces if not any(_agrees(pose, face) for pose in poses)]
    sought = side_by_side(lambda face: _seek_below(photo, face), bodiless)
    bodies = [_link(pose, faces, detected=True) for pose in poses]
    bodies += [_link(pose, faces, detected=False) for pose in sought if pose is not None]
    return without_doubles(bodies, photo)


def without_doubles(bodies: Sequence[Body], photo: Photo) -> list[Body]:
    """Keep the best fit of each person, best first.

    Bodies that belong to different faces are different people unless they are nearly the same fit: without this rule
    one seated woman of six was lost.
    """
    scale = min(1.0, THUMBNAIL_SIDE / max(photo.width, photo.height))
    size_wh = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    kept: list[tuple[Body, NDArray[np.bool_]]] = []
    for body in sorted(bodies, key=lambda body: -body.rank):
        mask = body.pose.logits_in(photo.box, size_wh) > 0
        if mask.sum() < SMALLEST_BODY * scale * scale or not mask.any():
            continue
        if not any(_same_person(body, mask, other, other_mask) for other, other_mask in kept):
            kept.append((body, mask))
    return [body for body, _ in kept]


def _same_person(body: Body, mask: NDArray[np.bool_], other: Body, other_mask: NDArray[np.bool_]) -> bool:
    shift = np.linalg.norm(body.pose.points[:25] - other.pose.points[:25], axis=1).mean()
    shift /= max(1.0, min(body.pose.region.side, other.pose.region.side))
    if body.face is not None and other.face is not None:
        return body.face == other.face or bool(shift < 0.03)
    shared = np.count_nonzero(mask & other_mask)
    iou = shared / np.count_nonzero(mask | other_mask)
    inside = shared / min(np.count_nonzero(mask), np.count_nonzero(other_mask))
    return bool(shift < 0.06 or iou > 0.5 or inside > 0.8)


def _link(pose: Pose, faces: Sequence[FaceMesh], *, detected: bool) -> Body:
    distances = [float(np.linalg.norm(pose.points[NOSE] - face.nose)) / face.width for face in faces]
    nearest = int(np.argmin(distances)) if distances else 0
    if not distances or distances[nearest] >= LINK_DISTANCE:
        return Body(pose, None, 0.0, detected)
    return Body(pose, nearest, distances[nearest], detected)


def _agrees(pose: Pose, face: FaceMesh) -> bool:
    """Say whether a detected pose fits a face so well that nothing better need be sought."""
    near = np.linalg.norm(pose.points[NOSE] - face.nose) < 0.25 * face.width
    head = float(np.linalg.norm(pose.points[LEFT_EAR] - pose.points[RIGHT_EAR])) / face.width
    return bool(near) and pose.quality > 0.5 and 0.5 < head < 1.6


def _seek_below(photo: Photo, face: FaceMesh) -> Pose | None:
    """Try places where the body of a face may be; return the pose whose nose fits the face best."""
    best: tuple[float, Pose] | None = None
    for down in (np.array([0.0, 1.0]), -face.up):
        for faces_down in HIP_BELOW_FACE:
            reach = face.size * faces_down
            hip = face.nose + down * reach
            angle = float(np.arctan2(-down[1], -down[0]) + np.pi / 2)
            pose = fit_pose(photo, Square(float(hip[0]), float(hip[1]), 2 * MARGIN * 1.15 * reach, angle))
            if pose is None:
                continue
            miss = float(np.linalg.norm(pose.points[NOSE] - face.nose)) / face.size
            if miss < SEED_DISTANCE and (best is None or pose.score - miss / 2 > best[0]):
                best = (pose.score - miss / 2, pose)
    return best[1] if best else None
