"""Networks that ship with blissmask, every pixel owned by one person: no download, no GPU, Apache-2.0.

H, W: rows and columns of the photo; h, w: of its working copy; P = people.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import InstanceSection
from blissmask.config.network import refuse_network_options
from blissmask.licence import Licence
from blissmask.people.people_backend import PeopleBackend, Person
from blissmask.vision.class_map import PartsMap, map_parts
from blissmask.vision.evidence import join
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.guided_filter import GuidedFilter, LinearModel
from blissmask.vision.photo import Photo, Window
from blissmask.vision.regions import box_of
from blissmask.vision.scene import NETWORKS, Figure, look_at
from blissmask.vision.selfie_multiclass import BACKGROUND, FACE_SKIN, HAIR
from blissmask.vision.session import weights_identity

METHOD = 1
"""Raised whenever the same photo would get other people."""

LARGEST_LOGIT = 6.0
"""Body masks are clipped here, so that a sure neighbour can still be outvoted near a face."""

HEAD_REACH, HEAD_CORE, HEAD_FADE = 2.3, 1.3, 0.5
"""Head pixels belong to the nearest face within the first many face radii; within the second they are taken from everybody else."""

HEAD_VOTE = 9.0
PART_VOTE = 3.0
"""Largest change of a logit: by head pixels near a face, by the body-parts network's person probability."""

PLAIN_PERSON = 0.095
"""Below this person probability every look agreed on background (the network never says less than 0.083), so nobody owns the pixel."""

SMALLEST_PERSON = 50
ISLAND = 0.03
"""Parts of a person smaller than this share of the largest part are dropped."""

EDGE_RADIUS = 1 / 256
NOTHING = 0.02
STRIP_ROWS = 512


class EmbeddedPeople:
    """The built-in instance backend."""

    licence = Licence("Apache-2.0", commercial=True)
    identity = f"embedded-{METHOD}-{weights_identity(*NETWORKS)}"
    thread_safe = True

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        """Return everybody in a photo, largest first; safe to call from several threads."""
        photo = Photo(rgb_HW3)
        scene = look_at(photo)
        if not scene.figures:
            return []
        parts = join(map_parts(photo, scene), scene)
        logits = ownership(scene.figures, parts)
        masks = _sharp_masks(photo, parts, logits)
        found = [
            _person(figure, mask)
            for figure, mask in zip(scene.figures, masks, strict=True)
            if mask.sum() > SMALLEST_PERSON
        ]
        return sorted(found, key=lambda person: -int(person.mask_HW.sum()))


def backend(options: InstanceSection) -> PeopleBackend:
    """Return the built-in instance backend; its networks are loaded at the first photo.

    Raises UsageError for options of others.
    """
    refuse_network_options(options)
    return EmbeddedPeople()


def ownership(figures: Sequence[Figure], parts: PartsMap) -> NDArray[np.float32]:
    """Return how strongly each person claims each pixel, float32 logits (P, h, w); above 0 where a person is.

    Everybody votes at once, so that neighbours compete: a mask made for one person alone runs over onto the next.
    """
    width, height = parts.size_wh
    whole = (0.0, 0.0, float(parts.photo_wh[0]), float(parts.photo_wh[1]))
    claims = np.full((len(figures), height, width), -LARGEST_LOGIT, np.float32)
    for claim, figure in zip(claims, figures, strict=True):
        if figure.pose is not None:
            np.clip(figure.pose.logits_in(whole, parts.size_wh), -LARGEST_LOGIT, LARGEST_LOGIT, out=claim)
    probabilities = parts.probabilities_hwC
    _vote_heads(claims, figures, probabilities[..., HAIR] + probabilities[..., FACE_SKIN], parts.scale_xy)
    person = 1 - probabilities[..., BACKGROUND]
    claims += np.clip((person - 0.5) * 2, -1, 1) * np.float32(PART_VOTE)
    claims -= (person < PLAIN_PERSON) * np.float32(LARGEST_LOGIT)
    return claims


def _vote_heads(
    claims_Phw: NDArray[np.float32],
    figures: Sequence[Figure],
    head_hw: NDArray[np.float32],
    scale_xy: NDArray[np.float64],
) -> None:
    """Give hair and face pixels to the nearest face: body masks miss curly hair, and neighbours' masks cover it."""
    owner = np.full(head_hw.shape, -1, np.int16)
    distance = np.full(head_hw.shape, np.inf, np.float32)
    for index, figure in enumerate(figures):
        if figure.face is not None:
            radii = _face_radii(figure.face, head_hw.shape, scale_xy)
            owner[radii < distance] = index
            np.minimum(distance, radii, out=distance)
    vote = head_hw * np.clip((HEAD_REACH - distance) / HEAD_FADE, 0, 1) * HEAD_VOTE
    against = -vote * (distance < HEAD_CORE)
    for index, claim in enumerate(claims_Phw):
        claim += np.where(owner == index, vote, against)


def _face_radii(face: FaceMesh, shape_hw: tuple[int, ...], scale_xy: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return how far each pixel is from the middle of a face, in radii of that face."""
    left, top, right, bottom = face.box
    radius = max(right - left, bottom - top) / 2
    rows = ((np.arange(shape_hw[0]) + 0.5) / scale_xy[1] - (top + bottom) / 2) / radius
    columns = ((np.arange(shape_hw[1]) + 0.5) / scale_xy[0] - (left + right) / 2) / radius
    return np.asarray(np.hypot(rows[:, None], columns[None, :]), dtype=np.float32)


def _sharp_masks(photo: Photo, parts: PartsMap, claims_Phw: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Return one mask per person at the photo's size, edges moved onto the photo's; masks never overlap."""
    owner = claims_Phw.argmax(axis=0)
    radius = max(2, round(EDGE_RADIUS * max(parts.size_wh)))
    guide = GuidedFilter(photo.resized(parts.size_wh), radius=radius)
    best = np.full((photo.height, photo.width), 0.5, np.float32)
    owner_HW = np.full(best.shape, -1, np.int16)
    windows: list[Window | None] = []
    for index, claim in enumerate(claims_Phw):
        own = np.where(owner == index, 1 / (1 + np.exp(-np.clip(claim, -20, 20))), 0).astype(np.float32)
        small = _window_of(own > NOTHING, margin=2 * radius + 1)
        windows.append(None if small is None else _in_photo(small, parts))
        if small is not None:
            _claim_pixels(guide.fit(own, small), photo, windows[-1] or small, index, best, owner_HW)
    return [_mask_of(owner_HW, index, window) for index, window in enumerate(windows)]


def _claim_pixels(
    model: LinearModel,
    photo: Photo,
    window: Window,
    index: int,
    best_HW: NDArray[np.float32],
    owner_HW: NDArray[np.int16],
) -> None:
    left, top, right, bottom = window
    for row in range(top, bottom, STRIP_ROWS):
        strip = (left, row, right, min(bottom, row + STRIP_ROWS))
        here = (slice(row, strip[3]), slice(left, right))
        sharp = model.apply(photo.rgb_HW3, strip)
        owner_HW[here][sharp > best_HW[here]] = index
        np.maximum(best_HW[here], sharp, out=best_HW[here])


def _window_of(where_hw: NDArray[np.bool_], *, margin: int) -> Window | None:
    rows, columns = np.flatnonzero(where_hw.any(axis=1)), np.flatnonzero(where_hw.any(axis=0))
    if not len(rows):
        return None
    height, width = where_hw.shape
    left, top = max(0, int(columns[0]) - margin), max(0, int(rows[0]) - margin)
    return left, top, min(width, int(columns[-1]) + 1 + margin), min(height, int(rows[-1]) + 1 + margin)


def _in_photo(window: Window, parts: PartsMap) -> Window:
    across, down = parts.scale_xy
    return (int(window[0] / across), int(window[1] / down), round(window[2] / across), round(window[3] / down))


def _mask_of(owner_HW: NDArray[np.int16], index: int, window: Window | None) -> NDArray[np.bool_]:
    mask = np.zeros(owner_HW.shape, bool)
    if window is not None:
        here = (slice(window[1], window[3]), slice(window[0], window[2]))
        mask[here] = _without_islands(owner_HW[here] == index)
    return mask


def _without_islands(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask_HW.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = areas >= ISLAND * areas[1:].max(initial=0)
    keep[0] = False
    return np.asarray(keep[parts])


def _person(figure: Figure, mask_HW: NDArray[np.bool_]) -> Person:
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    seen = [1.0 if figure.face is None else figure.face.presence, 1.0 if figure.pose is None else figure.pose.score]
    return Person(
        mask_HW=mask_HW,
        box_xyxy=(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)),
        score=min(seen),
        face_box_xyxy=None if figure.face is None else box_of(figure.face.oval),
        partial=figure.pose is None,
    )
