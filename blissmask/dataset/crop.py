"""Place the window that is cut out of a picture: where the mask's weight lies, heads first. Sizes are (width, height).

A picture is scaled until it covers its training size, so one side has room to choose from. The window stands in the
middle, or whole latent cells beside it, and goes from there only for something: a whole head, or a percent of the
weight. So a mask that is retouched moves no window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blissmask.dataset.geometry import Geometry
from blissmask.masks.sight import Box, Head, Sight

_PERCENT = 2
"""Decimals of the share of the weight that windows are compared by: less than a percent moves none."""


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
    starts = {0, room, *range(middle % cell, room + 1, cell)}
    # Near the middle first: of equal ones the first is taken.
    nearest = sorted(starts, key=lambda start: (abs(start - middle), start))
    best, merit = middle, (-1.0, 0.0, 0.0)
    for start in nearest:
        found = _merit(sight, spans, axis, start, start + size, scaled)
        if found > merit:
            best, merit = start, found
    return best


def _merit(
    sight: Sight, spans: Sequence[_Span | None], axis: int, start: int, end: int, scaled: int
) -> tuple[float, float, float]:
    """Return how good the window from ``start`` to ``end`` is, what counts most first."""
    whole = cut = 0.0
    for span in spans:
        if span is None or span.start >= end or span.end <= start:
            continue
        if span.start >= start and span.end <= end:
            whole += span.weight
        else:
            cut += span.weight
    return whole, -cut, round(sight.share_between(axis, start / scaled, end / scaled), _PERCENT)


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
