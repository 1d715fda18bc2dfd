"""Doubt parts of a body that may be things in front of it: lecterns, microphones, tables, boards.

The pose network draws a body as if nothing were in front of it, and Selfie Multiclass loses parts of dark suits. Where
only the body mask sees a person, the photo is asked: a thing has edges of its own towards the body, while a suit goes
on without one where a part of it is lost. Trousers below a white shirt have edges, too, so this is a doubt and no
decision. Given back their classes, such regions took the weight of things in front of people in
``tests/benchmarks/masks_precision.py`` from 71 to 41 %, but one of four COCO photos lost a thigh, and the mean person
IoU fell from 0.875 to 0.860.

What was tried besides, on the things of that benchmark: a region of one look (mean shift) that sticks out of the body
tells nothing (area under the curve 0.46 to 0.49, clothes stick out more often). Closed and convex ones, at least 0.94
of their hull, without a face and not at the frame, would take the weight of things in front from 74 to 48 %. In 70
photos 34 of 39 such regions were shirts, trousers, skin and heads, four were things and one was a wall, and one of four
COCO photos fell from a person IoU of 0.869 to 0.744. Edges and bones, asked as below, left none of the things, neither
there nor in the benchmark.

h, w: rows and columns of the working copy; C = classes; i, j: those of a smaller one.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision.bodies.pose import NOSE
from blissmask.vision.class_map import ClassMap
from blissmask.vision.photo import Photo
from blissmask.vision.scene import Scene
from blissmask.vision.selfie_multiclass import BACKGROUND

# Looked at on 52 photos with people: six have such regions. Three are things (a camera, a lectern, a stand), two are
# spectators behind, and one is a sleeve. Of seven things in front of bodies in `tests/benchmarks/things.py` that have
# weight one is found, a large slab: the others are clothes to both networks, or a bone runs through them.
SIDE = 800
"""Long side of the copy on which edges are looked for; more shows the weave of cloth."""

SMALLEST_THING = 0.01
"""Smallest share of the photo. Of the smaller regions half were shoes, buttons, thighs and patches on clothes."""

THING = 2 / 3
"""Smallest mean background probability before the bodies were joined in."""

BODY = 0.4
"""Largest background probability of what is body to both networks; by eye."""

EDGED = 0.85
"""Share of the outline towards the body that must follow an edge of the photo.

Lost parts of suits have 0.2 to 0.8, things 0.9 and more.
"""

EDGE = 8.0
BLUR = 1.2
"""Gradient from which a place is an edge, in units of 8-bit Lab a pixel, and the blur before, in pixels; by eye."""

REACH, THINNEST = 0.012, 0.006
"""How far the edge may lie from the outline of a region, and the width below which it is cut; shares of the long side.

The first is about the pixel of a network's input, three times.
"""

BONES = ((NOSE, NOSE), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28))
VISIBLE = 0.5
"""What a thing cannot show: the nose, and the lines between shoulders, elbows, wrists, hips, knees and ankles.

Shoulders and hips have no line between them: boards are held there, and hips are called visible behind them. Without
this rule a man seen from behind and two pairs of legs were things.
"""


def share_in_front(photo: Photo, class_map: ClassMap, joined: ClassMap, scene: Scene) -> float:
    """Return the share of the photo that is body and may be a thing in front of one, 0..1.

    Args:
        photo: the photo.
        class_map: before the bodies were joined in.
        joined: afterwards.
        scene: who is in the photo.
    """
    before_hw, after_hw = (each.probabilities_hwC[..., BACKGROUND] for each in (class_map, joined))
    only_body_hw = (before_hw >= 0.5) & (after_hw < 0.5)
    if np.count_nonzero(only_body_hw) < SMALLEST_THING * only_body_hw.size:
        return 0.0
    scale = min(1.0, SIDE / max(class_map.size_wh))
    width, height = (max(1, round(side * scale)) for side in class_map.size_wh)
    size_wh = (width, height)
    only_body_ij = cv2.resize(only_body_hw.view(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
    before_ij, after_ij = (
        cv2.resize(np.ascontiguousarray(background_hw), size_wh, interpolation=cv2.INTER_AREA)
        for background_hw in (before_hw, after_hw)
    )
    bones_ij = _skeletons(scene, size_wh, np.array(size_wh) / class_map.photo_wh)
    things_ij = _things(photo.resized(size_wh), only_body_ij, before_ij, after_ij < 0.5, bones_ij)
    return float(np.count_nonzero(things_ij)) / things_ij.size


def _things(
    rgb_ij3: NDArray[np.uint8],
    only_body_ij: NDArray[np.uint8],
    background_ij: NDArray[np.float32],
    person_ij: NDArray[np.bool_],
    bones_ij: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Return 1 at the possible things among the regions that only a body mask takes for a person."""
    side = max(only_body_ij.shape)
    reach, thinnest = max(3, round(REACH * side)), _square(max(1, round(THINNEST * side / 2)))
    solid = cv2.morphologyEx(only_body_ij, cv2.MORPH_OPEN, thinnest)
    _, parts_ij, stats_N5, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    edges_ij: NDArray[np.bool_] | None = None
    things_ij = np.zeros_like(only_body_ij)
    for part in range(1, len(stats_N5)):
        here = parts_ij == part
        small = stats_N5[part, cv2.CC_STAT_AREA] < SMALLEST_THING * here.size
        if small or background_ij[here].mean() < THING or bones_ij[here].any():
            continue
        if edges_ij is None:
            edges_ij = _edges(rgb_ij3, reach)
        region = here.astype(np.uint8)
        beside = (cv2.dilate(region, _square(reach)) > 0) & ~here & person_ij & (background_ij < BODY)
        outline = cv2.morphologyEx(region, cv2.MORPH_GRADIENT, _square(1)) > 0
        outline &= cv2.dilate(beside.astype(np.uint8), _square(reach)) > 0
        if outline.any() and edges_ij[outline].mean() >= EDGED:
            things_ij |= cv2.dilate(region, thinnest)
    return things_ij & only_body_ij


def _edges(rgb_ij3: NDArray[np.uint8], reach: int) -> NDArray[np.bool_]:
    """Return where an edge is less than ``reach`` pixels away."""
    lab = cv2.cvtColor(cv2.GaussianBlur(rgb_ij3, (0, 0), BLUR), cv2.COLOR_RGB2LAB)
    # Sobel's kernel sums to 8.
    slopes = [cv2.Sobel(lab, cv2.CV_32F, across, 1 - across, scale=1 / 8) for across in (0, 1)]
    steep = np.sqrt((slopes[0] ** 2 + slopes[1] ** 2).sum(axis=-1)) > EDGE
    return np.asarray(cv2.dilate(steep.astype(np.uint8), _square(reach - 1)) > 0)


def _square(radius: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _skeletons(scene: Scene, size_wh: tuple[int, int], scale_xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where the visible :data:`BONES` are."""
    where_ij = np.zeros(size_wh[::-1], np.uint8)
    for pose in scene.poses:
        places = np.floor(pose.points * scale_xy).astype(int).tolist()
        for start, end in BONES:
            if min(pose.visibility[start], pose.visibility[end]) >= VISIBLE:
                cv2.line(where_ij, places[start], places[end], 1)
    return where_ij > 0
