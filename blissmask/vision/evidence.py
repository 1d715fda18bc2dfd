"""Join the class map with the body masks, and believe in people only where there is evidence of one.

h, w: rows and columns of the working copy; C = the classes of ``selfie_multiclass``.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.faceless import MIN_FLESH
from blissmask.vision.class_map import ClassMap
from blissmask.vision.faces.face_mesh import CHIN, SURE_PRESENCE
from blissmask.vision.scene import Scene
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLOTHES, FACE_SKIN, HAIR

BODY_DOUBTED, BODY_CERTAIN = 0.35, 0.75
"""Person probabilities of a body mask: below the first it moves nothing, above the second it moves ``MOST_MOVED``.

By eye. Measured on four COCO photos: the bodies raise the person IoU from 0.827 to 0.869.
"""

MOST_MOVED = 0.95
"""Largest share of the background that a body mask turns into body; by eye."""

HEAD_REACH = 1.1
"""Half the side of the square above a chin, in face sizes, in which the class map is better than the body mask.

By eye: a body mask is coarse and adds a bump above a head.
"""

HEAD_DOUBTED, HEAD_CERTAIN = 0.6, 0.9
"""Background probabilities near a head.

Up to the first, the body mask may turn the background into body, since hair in deep shadow looks like background. From
the second on it may not. Between them its influence falls. By eye.
"""

PLAIN_DOUBTED, PLAIN_CERTAIN = 0.905, 0.915
STRONG_LOGIT = 60.0
"""Background on which all crops agree: the body mask's influence falls from the first probability to the second.

Only a body logit of ``STRONG_LOGIT`` or more still turns it into body. This keeps things beside a person out, such as
the helmet on the table in ``tests/photos/astronaut.png``. Measured on five portraits: plain background lies between
0.915 and 0.918, and only 1 % of the background lies above. Inside a body most logits are near 136, and 4 to 14 % are
below 60.
"""

LARGE_ISLAND = 0.04
"""A person-like region of at least this share of the photo is kept without evidence: a crowd, a body close by.

By eye, as are the next three; smaller regions without evidence were lamps and curtains in the design photos.
"""

COVERED_BY_BODY = 0.15
"""A region is evident if bodies cover more than this share of it."""

HEAD_LIKE = 0.12
HEAD_LIKE_PIXELS = 40
"""A region is evident if hair and face are more than this share of it and more than so many pixels: an unseen head."""

_IN_BODY, _AT_NOSE = 1, 2


def join_bodies(class_map: ClassMap, scene: Scene) -> ClassMap:
    """Return the class map with the bodies joined in and person-like islands without evidence removed."""
    whole = (0.0, 0.0, float(class_map.photo_wh[0]), float(class_map.photo_wh[1]))
    bodies = [pose.logits_in(whole, class_map.size_wh) for pose in scene.poses]
    probabilities = class_map.probabilities_hwC.copy()
    if bodies:
        _add_bodies(probabilities, np.max(bodies, axis=0), _near_heads(scene, class_map))
    _drop_islands(probabilities, _evidence(scene, bodies, class_map), anybody=bool(scene.figures))
    return ClassMap(probabilities, class_map.photo_wh)


def _add_bodies(
    probabilities_hwC: NDArray[np.float32], logits_hw: NDArray[np.float32], heads_hw: NDArray[np.float32]
) -> None:
    """Turn background into clothes where a body mask sees a person; dark suits before dark walls are lost otherwise."""
    person = 1 / (1 + np.exp(-np.clip(logits_hw, -30, 30)))
    background = probabilities_hwC[..., BACKGROUND]
    gain = _ramp(person, BODY_DOUBTED, BODY_CERTAIN) * MOST_MOVED
    beside_head = heads_hw * _ramp(background, HEAD_DOUBTED, HEAD_CERTAIN)
    plain = _ramp(background, PLAIN_DOUBTED, PLAIN_CERTAIN) * (logits_hw < STRONG_LOGIT)
    moved = background * gain * (1 - beside_head) * (1 - plain)
    probabilities_hwC[..., BACKGROUND] -= moved
    probabilities_hwC[..., CLOTHES] += moved


def _ramp(values: NDArray[np.floating[Any]], low: float, high: float) -> NDArray[np.floating[Any]]:
    """Return 0 up to ``low``, 1 from ``high`` on, and a straight line between."""
    return np.asarray(np.clip((values - low) / (high - low), 0, 1))


def _near_heads(scene: Scene, class_map: ClassMap) -> NDArray[np.float32]:
    """Return 1 in the squares around sure heads, from the chin upwards, and 0 elsewhere."""
    near = np.zeros(class_map.probabilities_hwC.shape[:2], np.float32)
    for face in scene.faces:
        if face.presence >= SURE_PRESENCE:
            up = face.up * face.size * HEAD_REACH
            side = np.array([-up[1], up[0]])
            chin = face.points[CHIN]
            corners = np.array([chin - side, chin - side + 2 * up, chin + side + 2 * up, chin + side])
            cv2.fillConvexPoly(near, (corners * class_map.scale_xy).astype(np.int32), 1.0)
    return near


def _evidence(scene: Scene, bodies: list[NDArray[np.float32]], class_map: ClassMap) -> NDArray[np.uint8]:
    """Return where evidence of people lies: noses, bodies, or 0."""
    evidence = np.zeros(class_map.probabilities_hwC.shape[:2], np.uint8)
    for logits in bodies:
        evidence[logits > 0] = _IN_BODY
    width, height = class_map.size_wh
    for face in scene.faces:
        column, row = (int(position) for position in face.nose * class_map.scale_xy)
        if 0 <= column < width and 0 <= row < height:
            evidence[row, column] = _AT_NOSE
    return evidence


def _drop_islands(probabilities_hwC: NDArray[np.float32], evidence_hw: NDArray[np.uint8], *, anybody: bool) -> None:
    """Turn person-like islands without evidence into background."""
    person = (probabilities_hwC[..., BACKGROUND] < 0.5).astype(np.uint8)
    count, islands, stats, _ = cv2.connectedComponentsWithStats(person, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]

    def pixels(where_hw: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return how many pixels of each island are in ``where_hw``."""
        return np.bincount(islands[where_hw], minlength=count)

    best = probabilities_hwC.argmax(axis=-1)
    if anybody:
        head_like = pixels((best == HAIR) | (best == FACE_SKIN))
        keep = areas >= LARGE_ISLAND * person.size
        keep |= pixels(evidence_hw == _AT_NOSE) > 0
        keep |= pixels(evidence_hw > 0) > COVERED_BY_BODY * areas
        keep |= (head_like > HEAD_LIKE * areas) & (head_like > HEAD_LIKE_PIXELS)
    else:
        # The classes are the only evidence here; animals have faces and hair too, but neither skin nor clothes.
        keep = pixels((best == BODY_SKIN) | (best == CLOTHES)) >= MIN_FLESH * areas
    keep[0] = True
    gone = ~keep[islands]
    probabilities_hwC[gone] = 0
    probabilities_hwC[gone, BACKGROUND] = 1
