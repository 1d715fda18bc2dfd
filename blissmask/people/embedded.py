"""Networks that ship with blissmask, every pixel owned by one person: no download, no GPU, Apache-2.0.

H, W: rows and columns of the photo; h, w: of its working copy; P = people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.config.sections.network import refuse_network_options
from blissmask.give_back import give_back
from blissmask.licence import Licence
from blissmask.masks.components import Parts, choose_parts
from blissmask.people.people_backend import PeopleBackend, Person
from blissmask.vision.class_map import ClassMap, map_classes
from blissmask.vision.evidence import join_bodies
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.guided_filter import GuidedFilter, LinearModel
from blissmask.vision.photo import Photo, Window
from blissmask.vision.regions import box_of
from blissmask.vision.scene import NETWORKS, Figure, scene_of
from blissmask.vision.selfie_multiclass import BACKGROUND, FACE_SKIN, HAIR
from blissmask.vision.session import give_back_store, weights_identity

METHOD = 3
"""Raised whenever the same photo would get other people; part of the identity."""

# The votes below were chosen by eye on the design photos, see `blissmask/vision/__init__.py`: a dozen other weightings
# moved the mean IoU per person by at most 0.03, most by less than 0.005.

LARGEST_LOGIT = 6.0
"""The logits of body masks are clipped here, so that head pixels can outvote a neighbour's body.

Unclipped, most are near 136 inside a body (measured on five portraits).
"""

HEAD_REACH, HEAD_CORE, HEAD_FADE = 2.3, 1.3, 0.5
"""Distances from the middle of a face, in radii of the face.

Head pixels within the first belong to the nearest face, and the vote fades out over the last before it. Within the
second they are also taken from everybody else.
"""

HEAD_VOTE = 9.0
PART_VOTE = 3.0
"""Largest change of a logit: by head pixels near a face, by the person probability of the class map."""

PLAIN_PERSON = 0.095
"""Below this person probability all crops agreed on background, and nobody owns the pixel.

Measured on five portraits: plain background has a person probability of 0.082 to 0.085, and 1 % of it less.
"""

SMALLEST_PERSON = 50
"""Photo pixels; a smaller mask is no person."""

ISLAND = 0.03
"""Parts of a person smaller than this share of the largest part are dropped."""

EDGE_RADIUS = 1 / 256
MIN_EDGE_RADIUS = 2
"""Radius of the guided filter as a share of the long side: one pixel of the pose network's input.

At least so many pixels of the working copy.
"""

NOTHING = 0.02
"""Probability up to which a pixel lies outside the part of a mask that is sharpened; saves time only."""

STRIP_ROWS = 512
"""Rows of the photo that are sharpened at a time, which bounds the memory of large photos.

Another number moves where OpenCV rounds: one of 18 photos got another mask with 128.
"""


class EmbeddedPeople:
    """The built-in instance backend."""

    licence = Licence("Apache-2.0", commercial=True)
    identity = f"embedded-{METHOD}-{weights_identity(*NETWORKS)}"
    thread_safe = True

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        """Return everybody in a photo, largest first; safe to call from several threads."""
        photo = Photo(rgb_HW3)
        scene = scene_of(photo)
        if not scene.figures:
            return []
        class_map = map_classes(photo, scene)
        pixels = photo.width * photo.height
        give_back_store(pixels)
        photo.forget_copies()
        class_map = join_bodies(class_map, scene)
        size_wh, claims_Phw = class_map.size_wh, ownership(scene.figures, class_map)
        del class_map
        give_back(pixels)
        sharpened = _sharpen(photo, claims_Phw, size_wh)
        del claims_Phw
        give_back(pixels)
        masks = _masks_of_each(photo, sharpened)
        found = [
            _person(figure, mask)
            for figure, mask in zip(scene.figures, masks, strict=True)
            if mask.sum() > SMALLEST_PERSON
        ]
        return sorted(found, key=_descending_area)


def backend(options: InstanceSection) -> PeopleBackend:
    """Return the built-in instance backend; its networks are loaded at the first photo.

    Raises:
        UsageError: an option was given that only other backends take.
    """
    refuse_network_options(options)
    return EmbeddedPeople()


def ownership(figures: Sequence[Figure], class_map: ClassMap) -> NDArray[np.float32]:
    """Return how strongly each person claims each pixel, float32 logits (P, h, w); above 0 where a person is.

    All people vote at once, so that neighbours compete: a mask made for one person alone covers parts of the next.
    """
    width, height = class_map.size_wh
    whole = (0.0, 0.0, float(class_map.photo_wh[0]), float(class_map.photo_wh[1]))
    claims_Phw = np.full((len(figures), height, width), -LARGEST_LOGIT, np.float32)
    for claim_hw, figure in zip(claims_Phw, figures, strict=True):
        if figure.pose is not None:
            logits_hw = figure.pose.logits_in(whole, class_map.size_wh)
            np.clip(logits_hw, -LARGEST_LOGIT, LARGEST_LOGIT, out=claim_hw)
    probabilities = class_map.probabilities_hwC
    _vote_heads(claims_Phw, figures, probabilities[..., HAIR] + probabilities[..., FACE_SKIN], class_map.scale_xy)
    person = 1 - probabilities[..., BACKGROUND]
    claims_Phw += np.clip((person - 0.5) * 2, -1, 1) * np.float32(PART_VOTE)
    claims_Phw -= (person < PLAIN_PERSON) * np.float32(LARGEST_LOGIT)
    return claims_Phw


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
    """Return the distance of each pixel from the middle of a face, in radii of that face."""
    left, top, right, bottom = face.box
    radius = max(right - left, bottom - top) / 2
    rows = ((np.arange(shape_hw[0]) + 0.5) / scale_xy[1] - (top + bottom) / 2) / radius
    columns = ((np.arange(shape_hw[1]) + 0.5) / scale_xy[0] - (left + right) / 2) / radius
    return np.asarray(np.hypot(rows[:, None], columns[None, :]), dtype=np.float32)


def _sharpen(photo: Photo, claims_Phw: NDArray[np.float32], size_wh: tuple[int, int]) -> list[_Sharpened | None]:
    """Return the mask of each person with its edges moved onto the photo's; None where a person has no pixel.

    Args:
        photo: the photo.
        claims_Phw: how strongly each person claims each pixel of the working copy.
        size_wh: size of the working copy.
    """
    owner_hw = claims_Phw.argmax(axis=0)
    radius = max(MIN_EDGE_RADIUS, round(EDGE_RADIUS * max(size_wh)))
    guide = GuidedFilter(photo.resized(size_wh), radius=radius)
    scale_xy = np.array(size_wh) / (photo.width, photo.height)
    sharpened: list[_Sharpened | None] = []
    for index, claim_hw in enumerate(claims_Phw):
        own_hw = np.where(owner_hw == index, 1 / (1 + np.exp(-np.clip(claim_hw, -20, 20))), 0).astype(np.float32)
        small = _window_of(own_hw > NOTHING, margin=2 * radius + 1)
        model = None if small is None else guide.fit(own_hw, small)
        sharpened.append(None if small is None or model is None else _Sharpened(model, _in_photo(small, scale_xy)))
    return sharpened


def _masks_of_each(photo: Photo, sharpened: list[_Sharpened | None]) -> list[NDArray[np.bool_]]:
    """Return one mask per person at the photo's size; masks never overlap. ``sharpened`` is emptied on the way."""
    # The number after the last person's is nobody. One byte a pixel for all but the largest crowds.
    nobody = len(sharpened)
    owner_HW = np.full((photo.height, photo.width), nobody, np.min_scalar_type(nobody))
    for top in range(0, photo.height, STRIP_ROWS):
        _own_rows(owner_HW, slice(top, min(photo.height, top + STRIP_ROWS)), sharpened, photo)
    windows = [None if one is None else one.window for one in sharpened]
    sharpened.clear()
    return [_mask_of(owner_HW, index, window) for index, window in enumerate(windows)]


class _Sharpened:
    """The mask of one person at the photo's size, evaluated strip by strip from above.

    Args:
        model: the mask as a function of the photo's colours.
        window: the part of the photo in which the person is.
    """

    def __init__(self, model: LinearModel, window: Window) -> None:
        self._model, self.window = model, window
        self._strips: dict[int, NDArray[np.float32]] = {}

    def rows(self, rows: slice, photo: Photo) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield how probable the person is in the rows that lie in the window, as far as they were not passed yet."""
        left, top, right, bottom = self.window
        for row in range(top, bottom, STRIP_ROWS):
            end = min(bottom, row + STRIP_ROWS)
            here = slice(max(row, rows.start), min(end, rows.stop))
            if here.start >= here.stop:
                continue
            if row not in self._strips:
                self._strips[row] = self._model.apply(photo.rgb_HW3, (left, row, right, end))
            yield here, self._strips[row][here.start - row : here.stop - row]
            if end <= rows.stop:
                del self._strips[row]


def _own_rows(
    owner_HW: NDArray[np.unsignedinteger[Any]], rows: slice, sharpened: Sequence[_Sharpened | None], photo: Photo
) -> None:
    """Give the pixels of some rows to the person who is most probable there, if more than half."""
    best_hW = np.full((rows.stop - rows.start, photo.width), 0.5, np.float32)
    for index, one in enumerate(sharpened):
        if one is None:
            continue
        columns = slice(one.window[0], one.window[2])
        for here, sharp in one.rows(rows, photo):
            best = best_hW[here.start - rows.start : here.stop - rows.start, columns]
            owner_HW[here, columns][sharp > best] = index
            np.maximum(best, sharp, out=best)


def _window_of(where_hw: NDArray[np.bool_], *, margin: int) -> Window | None:
    """Return the smallest window around the true pixels, widened by ``margin``; None without any."""
    rows, columns = np.flatnonzero(where_hw.any(axis=1)), np.flatnonzero(where_hw.any(axis=0))
    if not len(rows):
        return None
    height, width = where_hw.shape
    left, top = max(0, int(columns[0]) - margin), max(0, int(rows[0]) - margin)
    return left, top, min(width, int(columns[-1]) + 1 + margin), min(height, int(rows[-1]) + 1 + margin)


def _in_photo(window: Window, scale_xy: NDArray[np.float64]) -> Window:
    """Return a window of the working copy, whose size relative to the photo is given, in pixels of the photo."""
    across, down = scale_xy
    return (int(window[0] / across), int(window[1] / down), round(window[2] / across), round(window[3] / down))


def _mask_of(owner_HW: NDArray[np.unsignedinteger[Any]], index: int, window: Window | None) -> NDArray[np.bool_]:
    mask_HW = np.zeros(owner_HW.shape, bool)
    if window is not None:
        here = (slice(window[1], window[3]), slice(window[0], window[2]))
        # In the mask's own memory: a plane of a large photo takes 48 MB.
        np.equal(owner_HW[here], index, out=mask_HW[here])
        choose_parts(mask_HW[here], _is_large, connectivity=8)
    return mask_HW


def _is_large(parts: Parts) -> NDArray[np.bool_]:
    return np.asarray(parts.areas_N >= ISLAND * parts.areas_N.max(initial=0))


def _person(figure: Figure, mask_HW: NDArray[np.bool_]) -> Person:
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    face, pose = figure.face, figure.pose
    # The weaker of both scores; a figure has at least one of them.
    scores = [1.0 if face is None else face.presence, 1.0 if pose is None else pose.score]
    return Person(
        mask_HW=mask_HW,
        box_xyxy=(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)),
        score=min(scores),
        face_box_xyxy=None if face is None else box_of(face.oval),
        partial=pose is None,
    )


def _descending_area(person: Person) -> int:
    return -int(person.mask_HW.sum())
