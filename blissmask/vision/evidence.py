"""Join the class probabilities with the body masks, and believe in people only where there is evidence of one.

h, w: rows and columns of the working copy; C = the classes of ``selfie_multiclass``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.faceless import MIN_FLESH
from blissmask.vision.class_map import SURE_FACE, PartsMap
from blissmask.vision.faces.face_mesh import CHIN
from blissmask.vision.scene import Scene
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLOTHES, FACE_SKIN, HAIR

BODY_DOUBTED, BODY_CERTAIN = 0.35, 0.75
"""A body mask moves nothing below the first probability, nearly everything above the second."""

MOST_MOVED = 0.95

HEAD_REACH = 1.1
"""Half the side of the square above a chin, in face sizes, where the head's own look is better than the body mask."""

HEAD_DOUBTED, HEAD_CERTAIN = 0.6, 0.9
"""There, background below the first probability is still the body mask's to take (hair in deep shadow), above the second it is not."""

LARGE_ISLAND = 0.04
"""Share of the photo; a larger person-like region is kept without evidence: a crowd, a body close by."""

PLAIN_DOUBTED, PLAIN_CERTAIN, STRONG_LOGIT = 0.905, 0.915, 60.0
"""Background that every look agreed on (the network never says more than 0.917) yields only to a strong body logit (they reach 140): this
keeps things beside a person, such as a helmet on a table, out."""

COVERED_BY_BODY = 0.15
HEAD_LIKE = 0.12
HEAD_LIKE_PIXELS = 40


def join(parts: PartsMap, scene: Scene) -> PartsMap:
    """Return the parts with the bodies joined in and person-like islands without evidence removed."""
    whole = (0.0, 0.0, float(parts.photo_wh[0]), float(parts.photo_wh[1]))
    bodies = [pose.logits_in(whole, parts.size_wh) for pose in scene.poses]
    probabilities = parts.probabilities_hwC.copy()
    if bodies:
        _add_bodies(probabilities, np.max(bodies, axis=0), _near_heads(scene, parts))
    _drop_islands(probabilities, _evidence(scene, bodies, parts), anybody=bool(scene.figures))
    return PartsMap(probabilities, parts.photo_wh)


def _add_bodies(
    probabilities_hwC: NDArray[np.float32], logits_hw: NDArray[np.float32], heads_hw: NDArray[np.float32]
) -> None:
    """Where a body mask sees a person, background becomes clothes: dark suits before dark walls are lost otherwise."""
    person = 1 / (1 + np.exp(-np.clip(logits_hw, -30, 30)))
    gain = np.clip((person - BODY_DOUBTED) / (BODY_CERTAIN - BODY_DOUBTED), 0, 1) * MOST_MOVED
    background = probabilities_hwC[..., BACKGROUND]
    sure = np.clip((background - HEAD_DOUBTED) / (HEAD_CERTAIN - HEAD_DOUBTED), 0, 1)
    plain = np.clip((background - PLAIN_DOUBTED) / (PLAIN_CERTAIN - PLAIN_DOUBTED), 0, 1) * (logits_hw < STRONG_LOGIT)
    moved = background * gain * (1 - heads_hw * sure) * (1 - plain)
    probabilities_hwC[..., BACKGROUND] -= moved
    probabilities_hwC[..., CLOTHES] += moved


def _near_heads(scene: Scene, parts: PartsMap) -> NDArray[np.float32]:
    """Return 1 around heads, from the chin upwards, and 0 elsewhere; a body mask adds a bump above a head."""
    near = np.zeros(parts.probabilities_hwC.shape[:2], np.float32)
    for face in scene.faces:
        if face.presence >= SURE_FACE:
            up = face.up * face.size * HEAD_REACH
            side = np.array([-up[1], up[0]])
            chin = face.points[CHIN]
            corners = np.array([chin - side, chin - side + 2 * up, chin + side + 2 * up, chin + side]) * parts.scale_xy
            cv2.fillConvexPoly(near, corners.astype(np.int32), 1.0)
    return near


def _evidence(scene: Scene, bodies: list[NDArray[np.float32]], parts: PartsMap) -> NDArray[np.uint8]:
    """Return 2 at noses, 1 within bodies, 0 elsewhere."""
    evidence = np.zeros(parts.probabilities_hwC.shape[:2], np.uint8)
    for logits in bodies:
        evidence[logits > 0] = 1
    width, height = parts.size_wh
    for face in scene.faces:
        column, row = (int(position) for position in face.nose * parts.scale_xy)
        if 0 <= column < width and 0 <= row < height:
            evidence[row, column] = 2
    return evidence


def _drop_islands(probabilities_hwC: NDArray[np.float32], evidence_hw: NDArray[np.uint8], *, anybody: bool) -> None:
    person = (probabilities_hwC[..., BACKGROUND] < 0.5).astype(np.uint8)
    count, islands, stats, _ = cv2.connectedComponentsWithStats(person, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]

    def pixels(where_hw: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.bincount(islands[where_hw], minlength=count)

    best = probabilities_hwC.argmax(axis=-1)
    if anybody:
        head_like = pixels((best == HAIR) | (best == FACE_SKIN))
        keep = areas >= LARGE_ISLAND * person.size
        keep |= (pixels(evidence_hw == 2) > 0) | (pixels(evidence_hw > 0) > COVERED_BY_BODY * areas)
        keep |= (head_like > HEAD_LIKE * areas) & (head_like > HEAD_LIKE_PIXELS)
    else:
        keep = pixels((best == BODY_SKIN) | (best == CLOTHES)) >= MIN_FLESH * areas
    keep[0] = True
    gone = ~keep[islands]
    probabilities_hwC[gone] = 0
    probabilities_hwC[gone, BACKGROUND] = 1
