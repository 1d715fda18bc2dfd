"""Place the window that is cut out of a picture: where the mask's weight lies, heads first. Sizes are (width, height).

A picture is scaled until it covers its training size, so one side has room to choose from. The window stands in the
middle, or whole latent cells beside it, and goes from there only for something: a whole head, or a percent of the
weight. So a mask that is retouched moves no window. N: windows that are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.geometry import Geometry
from blissmask.masks.sight import Box, Head, Sight

_PERCENT = 2
"""Decimals of the share of the weight that windows are compared by: less than a percent moves none."""
_MOST_WINDOWS = 2**18
"""Windows that are compared, a cell apart in all but strips of thousands of times their width."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A head along one axis of the scaled picture, in pixels."""

    start: float
    end: float
    weight: float


def follow(geometry: Geometry, sight: Sight, *, cell: int) -> Geometry:
    """Return the geometry with the window that shows most of the subject.

    Of all windows those with the most whole heads are taken, by their weight; of these, those that cut the fewest;
    then the one that holds most weight, and of equal ones the nearest to the middle.

    Args:
        geometry: with the window in the middle.
        sight: what the mask shows.
        cell: pixels along a side of a latent cell, the step of the window.
    """
    left, top = (_start(geometry, sight, axis, cell) for axis in (0, 1))
    # Photos whose window stays share one geometry, of which a plan holds few.
    return geometry if geometry.crop_xy == (left, top) else replace(geometry, crop_xy=(left, top))


def has_choice(geometry: Geometry, *, cell: int) -> bool:
    """Return whether the window could stand elsewhere than in the middle; less than a cell is rounding."""
    return any(scaled - size >= cell for scaled, size in zip(geometry.scaled_wh, geometry.size_wh, strict=True))


def cuts(geometry: Geometry, box: Box) -> bool:
    """Return whether the window shows a box in part; one that is not shown at all is not cut."""
    inside = whole = True
    for axis in (0, 1):
        scaled, start = geometry.scaled_wh[axis], geometry.crop_xy[axis]
        end = start + geometry.size_wh[axis]
        first, last = (position * scaled for position in box.along(axis))
        inside &= first < end and last > start
        # The mask's edge lies between two of its pixels, the window's between two of the scaled picture.
        whole &= first >= start - 1 and last <= end + 1
    return inside and not whole


def _start(geometry: Geometry, sight: Sight, axis: int, cell: int) -> int:
    scaled, size, middle = geometry.scaled_wh[axis], geometry.size_wh[axis], geometry.crop_xy[axis]
    room = scaled - size
    if room < cell:
        return middle
    spans = [_span(head, axis, scaled, size, cell) for head in sight.heads]
    starts_N = _starts(room, middle, cell)
    whole_N, cut_N = _heads_in(spans, starts_N, size)
    held_N = sight.shares_between(axis, starts_N / scaled, (starts_N + size) / scaled)
    best = np.flatnonzero(whole_N == whole_N.max())
    best = best[cut_N[best] == cut_N[best].min()]
    held = [round(share, _PERCENT) for share in held_N[best].tolist()]
    return int(starts_N[best[held.index(max(held))]])


def _starts(room: int, middle: int, cell: int) -> NDArray[np.int64]:
    """Return where windows may start, the nearest to the middle first: of equal ones the first is taken."""
    # A strip of one pixel by 65,535 is scaled to hundreds of millions.
    step = cell * max(1, room // (cell * _MOST_WINDOWS))
    starts_N = np.unique(np.concatenate(([0, room], np.arange(middle % step, room + 1, step))))
    return starts_N[np.argsort(np.abs(starts_N - middle), kind="stable")]


def _heads_in(
    spans: Sequence[_Span | None], starts_N: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each window the weight of the heads that are whole in it, and of the heads that it cuts."""
    ends_N = starts_N + size
    whole_N, cut_N = np.zeros(len(starts_N)), np.zeros(len(starts_N))
    for span in spans:
        if span is None:
            continue
        is_whole_N = (span.start >= starts_N) & (span.end <= ends_N)
        is_seen_N = (span.start < ends_N) & (span.end > starts_N)
        whole_N += np.where(is_whole_N & is_seen_N, span.weight, 0.0)
        cut_N += np.where(is_seen_N & ~is_whole_N, span.weight, 0.0)
    return whole_N, cut_N


def _span(head: Head, axis: int, scaled: int, size: int, cell: int) -> _Span | None:
    """Return a head with a cell of room on either side, or its face where the head is too long; None where both are.

    A cell of room, because the window's outermost cells are encoded beside nothing.
    """
    boxes = (head.box,) if head.face is None else (head.box, head.face)
    for box in boxes:
        first, last = (position * scaled for position in box.along(axis))
        start, end = max(0.0, first - cell), min(float(scaled), last + cell)
        if end - start <= size:
            return _Span(start, end, head.weight)
    return None
