"""Draw line charts: panels one under the other over a shared axis of steps. 3 = RGB; sizes are in pixels.

``chart_svg.py`` draws the same charts for pages.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blissmask.media.overlay import Colour

WIDTH, HEADER, FOOTER = 1200, 62, 40
LEFT, RIGHT, TITLE, GAP = 92, 28, 30, 22
_PAPER, _INK, _FAINT, _GRID, _FRAME = (255, 255, 255), (32, 32, 32), (110, 110, 110), (232, 232, 230), (170, 170, 168)
_EDGE = 6
"""Dots on the frame of a panel reach this far beyond it."""
DOT_RADIUS = 4.5

MOST_DOTS = 100
"""A line with more points is drawn without dots; at the chart's width they would touch each other."""
_FINE = 4
"""Lines are drawn this many times larger and averaged down, since Pillow draws lines with jagged edges."""
_STEP_TICKS = 9
"""About how many numbers stand below the axis of steps."""
_TICK_HEIGHT = 55
"""A panel has about one grid line per this many pixels of its height."""
_ROUNDING = 1e-9
"""Relative error of floating point that must not push a round number to the next one."""

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps, increasing, and the value at each."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel.

    Attributes:
        name: its name in the legend; a line without a name is not in the legend.
        colour: colour of the line.
        points: steps and values; at least one point.
        width: width of the line in pixels.
        dots: whether each point has a dot; a line of more than :data:`MOST_DOTS` points has none.
        bounds: whether the panel must show the whole range of the line; else it shows the middle 98 %.
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
        title: text above the axes on the left; the legend is on the right.
        lines: lines from back to front; at least one.
        height: height of the axes in pixels.
        from_zero: whether the range starts at 0.
    """

    title: str
    lines: tuple[Line, ...]
    height: int
    from_zero: bool = False


def draw_chart(title: str, remark: str, panels: Sequence[Panel], *, axis: str) -> NDArray[np.uint8]:
    """Draw panels (at least one) as an RGB picture.

    Args:
        title: text at the top left.
        remark: fainter text at the top right.
        panels: panels from top to bottom.
        axis: name of the shared axis, e.g. ``step``.
    """
    height = HEADER + sum(TITLE + panel.height + GAP for panel in panels) - GAP + FOOTER
    canvas = Image.new("RGB", (WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((LEFT, 20), title, _INK, _font(22))
    draw.text((WIDTH - RIGHT, 26), remark, _FAINT, _font(15), anchor="ra")
    across = scale_of_steps(panels)
    top = HEADER
    for panel in panels:
        _draw_panel(canvas, draw, panel, across, top + TITLE)
        top += TITLE + panel.height + GAP
    bottom = height - FOOTER
    for step in step_ticks(across):
        draw.text((across(step), bottom + 8), f"{step:,.0f}", _INK, _font(14), anchor="ma")
    draw.text((LEFT - 10, bottom + 8), axis, _FAINT, _font(14), anchor="ra")
    return np.array(canvas)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values in [low, high] to pixels between ``start`` and ``end``; a range of one value to the middle."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + (self.end - self.start) * share


def scale_of_steps(panels: Sequence[Panel]) -> Scale:
    """Return where the steps of all panels are from left to right."""
    steps = np.concatenate([line.points[0] for panel in panels for line in panel.lines])
    return Scale(low=float(steps.min()), high=float(steps.max()), start=LEFT, end=WIDTH - RIGHT)


def _draw_panel(canvas: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, across: Scale, top: int) -> None:
    bottom = top + panel.height
    ticks = value_ticks(panel)
    upwards = Scale(low=ticks[0], high=ticks[-1], start=bottom, end=top)
    draw.text((LEFT, top - 9), panel.title, _INK, _font(16), anchor="ls")
    _draw_legend(draw, panel.lines, top - 9)
    for tick in ticks:
        y = upwards(tick)
        draw.line((LEFT, y, WIDTH - RIGHT, y), _GRID)
        draw.text((LEFT - 10, y), f"{tick:g}", _INK, _font(14), anchor="rm")
    for step in step_ticks(across):
        draw.line((across(step), top, across(step), bottom), _GRID)
    draw.rectangle((LEFT, top, WIDTH - RIGHT, bottom), outline=_FRAME)
    _draw_lines(canvas, panel.lines, across, upwards, top, bottom)


def _draw_legend(draw: ImageDraw.ImageDraw, lines: Sequence[Line], baseline: int) -> None:
    x: float = WIDTH - RIGHT
    for line in reversed([line for line in lines if line.name]):
        draw.text((x, baseline), line.name, _INK, _font(14), anchor="rs")
        x -= _font(14).getlength(line.name) + 6
        draw.rectangle((x - 22, baseline - 7, x, baseline - 4), fill=line.colour)
        if line.dots:
            draw.ellipse((x - 15, baseline - 9, x - 7, baseline - 1), fill=line.colour)
        x -= 22 + 18


def _draw_lines(
    canvas: Image.Image, lines: Sequence[Line], across: Scale, upwards: Scale, top: int, bottom: int
) -> None:
    """Draw the lines of a panel on an enlarged copy of its part of the canvas, and paste that back."""
    left, upper = LEFT - _EDGE, top - _EDGE
    right, lower = WIDTH - RIGHT + _EDGE, bottom + _EDGE
    width, height = right - left, lower - upper
    part = canvas.crop((left, upper, right, lower))
    fine = part.resize((width * _FINE, height * _FINE), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(fine)
    for line in lines:
        steps, values = thinned(line.points, across)
        clipped = np.clip(values, upwards.low, upwards.high)
        path = []
        for step, value in zip(steps, clipped, strict=True):
            path.append(((across(step) - left) * _FINE, (upwards(value) - upper) * _FINE))
        if len(path) > 1:
            pen.line(path, fill=line.colour, width=round(line.width * _FINE), joint="curve")
        if len(path) == 1 or (line.dots and len(path) <= MOST_DOTS):
            radius = (DOT_RADIUS if line.dots else line.width) * _FINE
            for x, y in path:
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=line.colour)
    canvas.paste(fine.reduce(_FINE), (left, upper))


def thinned(points: Points, across: Scale) -> Points:
    """Keep the lowest and the highest value of each pixel column, in their order; more would not be visible.

    A line of at most two points per column is kept whole.
    """
    steps, values = points
    if len(steps) <= 2 * WIDTH:
        return points
    columns = np.floor([across(step) for step in steps]).astype(int)
    starts = np.flatnonzero(np.diff(columns, prepend=columns[0] - 1))
    ends = np.append(starts[1:], len(steps))
    kept: list[int] = []
    for start, end in zip(starts, ends, strict=True):
        lowest, highest = start + values[start:end].argmin(), start + values[start:end].argmax()
        kept += sorted({int(lowest), int(highest)})
    return steps[kept], values[kept]


def _value_range(panel: Panel) -> tuple[float, float]:
    """Return the lowest and the highest value to show.

    Of noisy lines it is the middle 98 %, so that a single outlier does not flatten all the rest.
    """
    lows, highs = [], []
    for line in panel.lines:
        low, high = np.percentile(line.points[1], [0, 100] if line.bounds else [1, 99])
        lows.append(float(low))
        highs.append(float(high))
    if panel.from_zero:
        lows.append(0.0)
    return min(lows), max(highs)


def value_ticks(panel: Panel) -> list[float]:
    """Return the round numbers beside a panel; the first and the last are its bounds."""
    low, high = _value_range(panel)
    return _nice_ticks(low, high, count=max(2, panel.height // _TICK_HEIGHT))


def _nice_ticks(low: float, high: float, *, count: int) -> list[float]:
    """Return about ``count`` round numbers whose first and last enclose the range."""
    if high <= low:
        # A range of one value gets room around it, a tenth of the value; 0 gets the range 0 to 1.
        room = abs(low) * 0.1
        low, high = (low - room, high + room) if room else (0.0, 1.0)
    gap = _nice((high - low) / count)
    first, last = math.floor(low / gap + _ROUNDING), math.ceil(high / gap - _ROUNDING)
    return [round(number * gap, 12) for number in range(first, last + 1)]


def step_ticks(across: Scale) -> list[float]:
    """Return the round step numbers inside the range; its ends when there is none."""
    if across.high == across.low:
        return [across.low]
    gap = max(1.0, _nice((across.high - across.low) / _STEP_TICKS))
    first = math.ceil(across.low / gap)
    return [number * gap for number in range(first, math.floor(across.high / gap) + 1)] or [across.low, across.high]


def _nice(value: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below ``value`` (> 0)."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - _ROUNDING))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
