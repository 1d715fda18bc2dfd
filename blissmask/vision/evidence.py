"""Join the class map with the body masks, and believe in people only where there is evidence of one.

h, w: rows and columns of the working copy; C = the classes of ``selfie_multiclass``.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.faceless import MIN_FLESH
from blissmask.vision.bodies.pose import BODY_POINTS
from blissmask.vision.class_map import ClassMap
from blissmask.vision.faces.face_mesh import CHIN, SURE_PRESENCE
from blissmask.vision.reach import limit_to_people
from blissmask.vision.scene import Scene
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLOTHES

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

SMALLEST_ISLAND = 0.1
"""Where nobody was found, islands smaller than this share of the largest are things; by eye.

Looked at on the one of 55 photos that has weight but neither a face nor a body, a woman without a head: spots of a
lamp, the floor and the wall beside her were clothes, none larger than 0.012 of her.
"""

VISIBLE = 0.5
"""Visibility of a landmark from which it is evidence of a person where it lies; by eye."""


def join_bodies(class_map: ClassMap, scene: Scene) -> ClassMap:
    """Return the class map with the bodies joined in and person-like islands without evidence removed."""
    whole = (0.0, 0.0, float(class_map.photo_wh[0]), float(class_map.photo_wh[1]))
    bodies = [pose.logits_in(whole, class_map.size_wh) for pose in scene.poses]
    probabilities = class_map.probabilities_hwC.copy()
    if bodies:
        _add_bodies(probabilities, np.max(bodies, axis=0), _near_heads(scene, class_map))
    if scene.figures:
        limit_to_people(probabilities, scene.figures, class_map.scale_xy)
    _drop_islands(probabilities, _landmarks(scene, class_map), anybody=bool(scene.figures))
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


def _landmarks(scene: Scene, class_map: ClassMap) -> NDArray[np.bool_]:
    """Return where the people are for certain: at the noses of faces and at the visible landmarks of bodies."""
    points = [face.nose[None] for face in scene.faces]
    points += [pose.points[:BODY_POINTS][pose.visibility[:BODY_POINTS] >= VISIBLE] for pose in scene.poses]
    where_hw = np.zeros(class_map.probabilities_hwC.shape[:2], bool)
    width, height = class_map.size_wh
    places = np.floor(np.concatenate([np.empty((0, 2)), *points]) * class_map.scale_xy).astype(int)
    places = places[((places >= 0) & (places < (width, height))).all(axis=1)]
    where_hw[places[:, 1], places[:, 0]] = True
    return where_hw


def _drop_islands(probabilities_hwC: NDArray[np.float32], landmarks_hw: NDArray[np.bool_], *, anybody: bool) -> None:
    """Turn person-like islands without evidence into background."""
    person = (probabilities_hwC[..., BACKGROUND] < 0.5).astype(np.uint8)
    count, islands, stats, _ = cv2.connectedComponentsWithStats(person, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]

    def pixels(where_hw: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return how many pixels of each island are in ``where_hw``."""
        return np.bincount(islands[where_hw], minlength=count)

    if anybody:
        keep = pixels(landmarks_hw) > 0
    else:
        # The classes are the only evidence here; animals have faces and hair too, but neither skin nor clothes.
        best = probabilities_hwC.argmax(axis=-1)
        keep = pixels((best == BODY_SKIN) | (best == CLOTHES)) >= MIN_FLESH * areas
        keep &= areas >= SMALLEST_ISLAND * areas[1:].max(initial=0, where=keep[1:])
    keep[0] = True
    gone = ~keep[islands]
    probabilities_hwC[gone] = 0
    probabilities_hwC[gone, BACKGROUND] = 1
