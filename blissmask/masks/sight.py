"""What a mask shows of its subject: where its weight lies, and where heads are. Values in, values out.

Positions are shares of the picture, 0 at the left or upper edge and 1 at the right or lower one, so that masks of any
size say the same. Axis 0 is that of columns, 1 that of rows. H, W: rows and columns; N: stretches along an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.masks.tiers import MAX_VALUE, TierTable
from blissmask.masks.weights import MaskValues, to_weights

_LONGEST = 1024
"""Rows or columns that are looked at: a window is placed by whole latent cells, of which a picture has fewer."""
_VALUE_TOLERANCE = 1e-3
"""In units of 8-bit values: float32 rounding moves a weight of an 8-bit mask by less, see ``dataset.pixel_mask``."""
_SPECK = 0.01
"""A part with less than this share of the weight of all heads is a speck of the mask, not a head."""
_OUTSIDE = 0.005
"""Share of the weight that may lie beyond each edge of the subject's box, so that a speck does not widen it."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; its sides are shares of the picture's."""

    left: float
    top: float
    right: float
    bottom: float

    def along(self, axis: int) -> tuple[float, float]:
        """Return where the box starts and ends along an axis."""
        return (self.left, self.right) if axis == 0 else (self.top, self.bottom)

    def with_box(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True, slots=True)
class Head:
    """A head: connected pixels of face and hair.

    Attributes:
        box: around face and hair.
        face: around the face; None where the head shows hair alone.
        weight: summed mask weight, in units of the picture's area.
    """

    box: Box
    face: Box | None
    weight: float


@dataclass(frozen=True, slots=True)
class Sight:
    """What a mask shows.

    Attributes:
        columns_W, rows_H: summed weight of each column and row; the numbers of both stand for the whole side.
        heads: the heaviest first; none where the mask does not tell faces from the rest.
        subject: around all that weighs more than the background; None where nothing does.
    """

    columns_W: NDArray[np.float64]
    rows_H: NDArray[np.float64]
    heads: tuple[Head, ...]
    subject: Box | None

    def shares_between(
        self, axis: int, starts_N: NDArray[np.float64], ends_N: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the shares of the weight that lie between positions along an axis; 0 where there is no weight."""
        profile = self.columns_W if axis == 0 else self.rows_H
        total = float(profile.sum())
        if not total:
            return np.zeros(len(starts_N))
        until = np.concatenate(([0.0], np.cumsum(profile)))
        positions = np.linspace(0.0, 1.0, len(until))
        return (np.interp(ends_N, positions, until) - np.interp(starts_N, positions, until)) / total


def see(values_HW: MaskValues, tiers: TierTable, *, inverted: bool = False) -> Sight:
    """Return what a mask shows.

    Heads are known where the mask holds nothing but tier values, face is a tier of its own, and not everything that
    weighs is face: in a mask of 0 and 255 a whole person has the value of faces.

    Args:
        values_HW: as files hold them, at any size.
        tiers: the value of each tier in the mask.
        inverted: whether dark is what counts.
    """
    step = max(1, max(values_HW.shape) // _LONGEST)
    weights_HW = to_weights(values_HW[::step, ::step])
    if inverted:
        np.subtract(1.0, weights_HW, out=weights_HW)
    # The background may have a weight of its own, everywhere; it is no part of the subject.
    above_HW = np.where(weights_HW > tiers.background / MAX_VALUE + _VALUE_TOLERANCE / MAX_VALUE, weights_HW, 0.0)
    heads = _heads(weights_HW, tiers)
    columns_W, rows_H = above_HW.sum(axis=0, dtype=np.float64), above_HW.sum(axis=1, dtype=np.float64)
    return Sight(columns_W, rows_H, heads, _subject(columns_W, rows_H, heads))


def see_all(sights: Sequence[Sight]) -> Sight:
    """Return what several masks of one size show together; a head counts once in each in which it is."""
    boxes = [sight.subject for sight in sights if sight.subject is not None]
    heads = [head for sight in sights for head in sight.heads]
    return Sight(
        np.sum([sight.columns_W for sight in sights], axis=0),
        np.sum([sight.rows_H for sight in sights], axis=0),
        tuple(sorted(heads, key=_weight_of, reverse=True)),
        _around(boxes),
    )


def _heads(weights_HW: NDArray[np.float32], tiers: TierTable) -> tuple[Head, ...]:
    grey_HW = np.rint(weights_HW * np.float32(MAX_VALUE)).astype(np.uint8)
    exact = np.abs(weights_HW * np.float32(MAX_VALUE) - grey_HW).max() <= _VALUE_TOLERANCE
    present = set(np.unique(grey_HW).tolist())
    if not exact or not present <= set(tiers.as_dict().values()) or not _tells_faces(present, tiers):
        return ()
    face_HW = grey_HW == tiers.face
    head_HW = face_HW | (grey_HW == tiers.hair) if tiers.hair not in (tiers.body, tiers.background) else face_HW
    count, parts_HW, stats_N5, _ = cv2.connectedComponentsWithStats(head_HW.view(np.uint8), connectivity=8)
    summed_N = np.bincount(parts_HW.reshape(-1), weights=weights_HW.reshape(-1), minlength=count)
    height, width = grey_HW.shape
    heads = []
    for number in range(1, count):
        left, top, wide, high, _ = stats_N5[number].tolist()
        inside = (slice(top, top + high), slice(left, left + wide))
        face_hw = face_HW[inside] & (parts_HW[inside] == number)
        face = _box_of(face_hw, left, top, (width, height)) if face_hw.any() else None
        box = Box(left / width, top / height, (left + wide) / width, (top + high) / height)
        heads.append(Head(box, face, float(summed_N[number]) / (width * height)))
    least = _SPECK * sum(head.weight for head in heads)
    return tuple(sorted((head for head in heads if head.weight >= least), key=_weight_of, reverse=True))


def _tells_faces(present: set[int], tiers: TierTable) -> bool:
    """Return whether the value of faces means faces in a mask that holds the values ``present``."""
    if tiers.face in (tiers.body, tiers.background):
        return False
    # Masks of faces alone hold no other value, since bodies were given the background's.
    return bool(present & {tiers.body, tiers.hair} - {tiers.background}) or tiers.body == tiers.background


def _box_of(region_hw: NDArray[np.bool_], left: int, top: int, size_wh: tuple[int, int]) -> Box:
    columns, rows = np.flatnonzero(region_hw.any(axis=0)), np.flatnonzero(region_hw.any(axis=1))
    width, height = size_wh
    return Box(
        (left + int(columns[0])) / width,
        (top + int(rows[0])) / height,
        (left + int(columns[-1]) + 1) / width,
        (top + int(rows[-1]) + 1) / height,
    )


def _subject(columns_W: NDArray[np.float64], rows_H: NDArray[np.float64], heads: Sequence[Head]) -> Box | None:
    if not columns_W.any():
        return None
    left, right = _extent(columns_W)
    top, bottom = _extent(rows_H)
    box = _around([Box(left, top, right, bottom), *(head.box for head in heads)])
    assert box is not None
    return box


def _extent(profile: NDArray[np.float64]) -> tuple[float, float]:
    """Return between which positions all but a little of the weight lies."""
    until = np.cumsum(profile)
    least = _OUTSIDE * until[-1]
    first = int(np.searchsorted(until, least, side="right"))
    last = int(np.searchsorted(until, until[-1] - least, side="left"))
    return first / len(profile), (last + 1) / len(profile)


def _around(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.with_box(box)
    return whole


def _weight_of(head: Head) -> float:
    return head.weight
