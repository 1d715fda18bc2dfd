"""Line charts: panels one under the other over a shared axis of steps. 3 = RGB; sizes are in pixels."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blissmask.media.overlay import Colour

_WIDTH, _HEADER, _FOOTER = 1200, 62, 40
_LEFT, _RIGHT, _TITLE, _GAP = 92, 28, 30, 22
_PAPER, _INK, _FAINT, _GRID, _FRAME = (255, 255, 255), (32, 32, 32), (110, 110, 110), (232, 232, 230), (170, 170, 168)
_EDGE = 6
"""Dots on the frame of a panel reach this far out."""

_MOST_DOTS = 100
_FINE = 4
"""Lines are drawn this many times larger and averaged down: Pillow's own have steps."""

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps, increasing, and the value at each."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel.

    Attributes:
        name: in the legend; empty leaves it out.
        colour: of the line.
        points: steps and values; at least one.
        width: in pixels.
        dots: a dot at each point besides the line, unless there are too many to tell apart.
        bounds: whether the range of the panel must show all of it; else the middle 98 %.
    """

    name: str
    colour: Colour
    points: Points
    width: float = 2.0
    dots: bool = False
    bounds: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes.

    Attributes:
        title: above it, on the left; the legend stands on the right.
        lines: from back to front; at least one.
        height: of the axes.
        from_zero: whether the range starts at 0.
    """

    title: str
    lines: tuple[Line, ...]
    height: int
    from_zero: bool = False


def draw_chart(title: str, remark: str, panels: Sequence[Panel], *, axis: str) -> NDArray[np.uint8]:
    """Draw panels (at least one) as an RGB picture.

    Args:
        title: at the top left.
        remark: at the top right, fainter.
        panels: from top to bottom.
        axis: what the shared axis counts, e.g. ``step``.
    """
    height = _HEADER + sum(_TITLE + panel.height + _GAP for panel in panels) - _GAP + _FOOTER
    canvas = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_LEFT, 20), title, _INK, _font(22))
    draw.text((_WIDTH - _RIGHT, 26), remark, _FAINT, _font(15), anchor="ra")
    steps = np.concatenate([line.points[0] for panel in panels for line in panel.lines])
    across = _Scale(float(steps.min()), float(steps.max()), _LEFT, _WIDTH - _RIGHT)
    top = _HEADER
    for panel in panels:
        _draw_panel(canvas, draw, panel, across, top + _TITLE)
        top += _TITLE + panel.height + _GAP
    bottom = height - _FOOTER
    for step in _step_ticks(across):
        draw.text((across(step), bottom + 8), f"{step:,.0f}", _INK, _font(14), anchor="ma")
    draw.text((_LEFT - 10, bottom + 8), axis, _FAINT, _font(14), anchor="ra")
    return np.array(canvas)


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values in [low, high] to pixels between ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        return self.start + (self.end - self.start) * ((value - self.low) / span if span else 0.5)


def _draw_panel(canvas: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, across: _Scale, top: int) -> None:
    bottom = top + panel.height
    ticks = _nice_ticks(*_value_range(panel), count=max(2, panel.height // 55))
    upwards = _Scale(ticks[0], ticks[-1], bottom, top)
    draw.text((_LEFT, top - 9), panel.title, _INK, _font(16), anchor="ls")
    _draw_legend(draw, panel.lines, top - 9)
    for tick in ticks:
        y = upwards(tick)
        draw.line((_LEFT, y, _WIDTH - _RIGHT, y), _GRID)
        draw.text((_LEFT - 10, y), f"{tick:g}", _INK, _font(14), anchor="rm")
    for step in _step_ticks(across):
        draw.line((across(step), top, across(step), bottom), _GRID)
    draw.rectangle((_LEFT, top, _WIDTH - _RIGHT, bottom), outline=_FRAME)
    _draw_lines(canvas, panel.lines, across, upwards, top, bottom)


def _draw_legend(draw: ImageDraw.ImageDraw, lines: Sequence[Line], baseline: int) -> None:
    x: float = _WIDTH - _RIGHT
    for line in reversed([line for line in lines if line.name]):
        draw.text((x, baseline), line.name, _INK, _font(14), anchor="rs")
        x -= _font(14).getlength(line.name) + 6
        draw.rectangle((x - 22, baseline - 7, x, baseline - 4), fill=line.colour)
        if line.dots:
            draw.ellipse((x - 15, baseline - 9, x - 7, baseline - 1), fill=line.colour)
        x -= 22 + 18


def _draw_lines(
    canvas: Image.Image, lines: Sequence[Line], across: _Scale, upwards: _Scale, top: int, bottom: int
) -> None:
    corner = (_LEFT - _EDGE, top - _EDGE)
    size_wh = (_WIDTH - _RIGHT + _EDGE - corner[0], bottom + _EDGE - corner[1])
    box = (*corner, corner[0] + size_wh[0], corner[1] + size_wh[1])
    fine = canvas.crop(box).resize((size_wh[0] * _FINE, size_wh[1] * _FINE), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(fine)
    for line in lines:
        steps, values = _thinned(line.points, across)
        clipped = np.clip(values, upwards.low, upwards.high)
        path = [
            ((across(s) - corner[0]) * _FINE, (upwards(v) - corner[1]) * _FINE)
            for s, v in zip(steps, clipped, strict=True)
        ]
        if len(path) > 1:
            pen.line(path, fill=line.colour, width=round(line.width * _FINE), joint="curve")
        radius = (4.5 if line.dots else line.width) * _FINE
        for x, y in path if len(path) == 1 or (line.dots and len(path) <= _MOST_DOTS) else []:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=line.colour)
    canvas.paste(fine.resize(size_wh, Image.Resampling.BOX), corner)


def _thinned(points: Points, across: _Scale) -> Points:
    """Keep the lowest and the highest value of each pixel column, in the order they come: more cannot be seen."""
    steps, values = points
    columns = (
        np.floor([across(step) for step in steps]).astype(int) if len(steps) > 2 * _WIDTH else np.arange(len(steps))
    )
    starts = np.flatnonzero(np.diff(columns, prepend=columns[0] - 1))
    if len(starts) == len(steps):
        return points
    kept: list[int] = []
    for start, end in zip(starts, [*starts[1:], len(steps)], strict=True):
        kept += sorted({int(start + values[start:end].argmin()), int(start + values[start:end].argmax())})
    return steps[kept], values[kept]


def _value_range(panel: Panel) -> tuple[float, float]:
    """Return the range to show; a single outlier of a noisy line does not flatten all the rest."""
    ends = [np.percentile(line.points[1], [0, 100] if line.bounds else [1, 99]) for line in panel.lines]
    low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    return (min(0.0, low) if panel.from_zero else low), high


def _nice_ticks(low: float, high: float, *, count: int) -> list[float]:
    """Return about ``count`` round numbers whose first and last enclose the range."""
    if high <= low:
        room = abs(low) * 0.1 or 1.0
        low, high = low - (room if low else 0.0), high + room
    gap = _nice((high - low) / count)
    first, last = math.floor(low / gap + 1e-9), math.ceil(high / gap - 1e-9)
    return [round(number * gap, 12) for number in range(first, last + 1)]


def _step_ticks(across: _Scale) -> list[float]:
    """Return the round step numbers inside the range; its ends when there is none."""
    if across.high == across.low:
        return [across.low]
    gap = max(1.0, _nice((across.high - across.low) / 9))
    first = math.ceil(across.low / gap)
    return [number * gap for number in range(first, math.floor(across.high / gap) + 1)] or [across.low, across.high]


def _nice(value: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below ``value`` (> 0)."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
