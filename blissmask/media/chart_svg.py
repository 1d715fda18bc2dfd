"""Draw line charts as SVG inside a page, in the colours of its scheme, light or dark. Sizes are pixels at full width.

Text and grid have the page's own variables (``sheet.css``); a line's colour is in ``--line``, and ``run.css`` makes it
paler on dark paper.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

import numpy as np

from blissmask.media.chart import (
    DOT_RADIUS,
    FOOTER,
    GAP,
    LEFT,
    MOST_DOTS,
    RIGHT,
    TITLE,
    WIDTH,
    Line,
    Panel,
    Scale,
    scale_of_steps,
    step_ticks,
    thinned,
    value_ticks,
)

_STROKE, _DOT = "\u2501", "\u25cf"
"""Marks of the legend, as letters: nobody knows how wide the names before them are in the reader's font."""


def svg_chart(panels: Sequence[Panel], *, axis: str, about: str) -> Iterator[str]:
    """Yield the lines of an ``svg`` element.

    Args:
        panels: panels from top to bottom; at least one.
        axis: name of the shared axis, e.g. ``step``.
        about: what the chart shows, for those who do not see it.
    """
    height = sum(TITLE + panel.height + GAP for panel in panels) - GAP + FOOTER
    across = scale_of_steps(panels)
    yield f'<svg class=chart role=img aria-label="{html.escape(about)}" viewBox="0 0 {WIDTH} {height}">'
    top = 0
    for panel in panels:
        yield from _panel(panel, across, top + TITLE)
        top += TITLE + panel.height + GAP
    bottom = height - FOOTER
    for step in step_ticks(across):
        yield _text(across(step), bottom + 22, f"{step:,.0f}", anchor="middle")
    yield _text(LEFT - 10, bottom + 22, axis, anchor="end", faint=True)
    yield "</svg>"


def _panel(panel: Panel, across: Scale, top: int) -> Iterator[str]:
    bottom, right = top + panel.height, WIDTH - RIGHT
    ticks = value_ticks(panel)
    upwards = Scale(low=ticks[0], high=ticks[-1], start=bottom, end=top)
    yield _heading(panel, top - 9)
    rows = [f"M{LEFT} {upwards(tick):.1f}H{right}" for tick in ticks]
    columns = [f"M{across(step):.1f} {top}V{bottom}" for step in step_ticks(across)]
    yield f"<path class=grid d='{''.join([*rows, *columns])}'/>"
    for tick in ticks:
        yield _text(LEFT - 10, upwards(tick) + 5, f"{tick:g}", anchor="end")
    for line in panel.lines:
        yield from _line(line, across, upwards)


def _line(line: Line, across: Scale, upwards: Scale) -> Iterator[str]:
    steps, values = thinned(line.points, across)
    clipped = np.clip(values, upwards.low, upwards.high)
    places = [f"{across(step):.1f} {upwards(value):.1f}" for step, value in zip(steps, clipped, strict=True)]
    if len(places) > 1:
        yield _stroke(line, f"M{'L'.join(places)}", width=line.width)
    if len(places) == 1 or (line.dots and len(places) <= MOST_DOTS):
        radius = DOT_RADIUS if line.dots else line.width
        # A line of no length with round ends is a dot: one element for all of them.
        yield _stroke(line, "".join(f"M{place}h0" for place in places), width=2 * radius)


def _heading(panel: Panel, baseline: int) -> str:
    """Return one line of text: the title, then a mark in the colour of each line with its name.

    From the left, where a narrow window begins to show the chart.
    """
    spans = [f"<tspan class=title>{html.escape(panel.title)}</tspan>"]
    for line in panel.lines:
        if line.name:
            mark = _STROKE + _DOT + _STROKE if line.dots else 2 * _STROKE
            spans.append(f"<tspan {_look(line)} dx=20>{mark}</tspan><tspan dx=6>{html.escape(line.name)}</tspan>")
    return f"<text x={LEFT} y={baseline}>{''.join(spans)}</text>"


def _stroke(line: Line, path: str, *, width: float) -> str:
    return f"<path {_look(line)} stroke-width={width:g} d='{path}'/>"


def _look(line: Line) -> str:
    """Return the attributes that give an element the colour of a line."""
    kind = "line" if line.bounds else "line noisy"
    colour = ",".join(map(str, line.colour))
    return f"class='{kind}' style='--line:rgb({colour})'"


def _text(x: float, y: float, text: str, *, anchor: str = "start", faint: bool = False) -> str:
    kind = " class=faint" if faint else ""
    return f"<text{kind} x={x:.1f} y={y:.1f} text-anchor={anchor}>{html.escape(text)}</text>"
