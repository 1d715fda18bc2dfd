"""Draw the loss curve: a picture of the step log, beside the LoRA, when a run ends or stops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import BlissmaskError, Problem, left_undone
from blissmask.masks.tiers import TIERS, WeightTier
from blissmask.media.chart import Line, Panel, Points, draw_chart
from blissmask.media.chart_svg import svg_chart
from blissmask.media.overlay import TIER_COLOURS, Colour
from blissmask.media.png import is_made_by, write_png_rgb
from blissmask.storage.ordinary import in_the_way

_COMMAND = "train"
_AXIS = "step"
_NOT_DRAWN = "the loss curve is not drawn"
_ABOUT = "The loss over the steps, the loss of each part of the pictures, and the learning rate"
_MANY_STEPS = 400
"""From this many steps on their line is thinner: in a panel of 1080 pixels they stand less than 3 pixels apart."""

_EACH_STEP: Colour = (190, 208, 222)
_SMOOTHED: Colour = (0, 92, 150)
_PRIOR: Colour = (0, 158, 115)
_CLASS_WORD: Colour = (120, 94, 180)
_HELD_OUT: Colour = (204, 60, 120)
_RATE: Colour = (90, 90, 90)
_SUBJECTS: Sequence[Colour] = ((0, 92, 150), (204, 121, 30), (0, 158, 115), (120, 94, 180))
"""Of the lines of several subjects; a fifth has none, since a panel of six lines cannot be read."""
_OF_A_SUBJECT = "likeness/subject/"
_EXPERTS: Mapping[str, Colour] = {"high": (0, 92, 150), "low": (204, 121, 30)}
# The overlay's yellow of hair and its dark background would not be seen on white paper.
_REGIONS: Mapping[WeightTier, Colour] = {
    **TIER_COLOURS,
    WeightTier.HAIR: (190, 160, 0),
    WeightTier.BACKGROUND: (120, 120, 120),
}


def save_curve(lines: Sequence[Mapping[str, float]], path: Path, *, title: str) -> Problem | None:
    """Draw the curve of a step log, and return what prevented it: a picture never costs a training.

    Args:
        lines: of the log; without a loss there is no curve.
        path: the picture, ``.png``. An earlier curve is replaced, any other picture is not.
        title: at the top, e.g. the name of the LoRA.
    """
    if not _has_loss(lines):
        return None
    if (problem := curve_kept_out(path)) is not None:
        return problem
    try:
        write_png_rgb(path, draw_curve(lines, title=title), note={"command": _COMMAND})
    except (BlissmaskError, OSError, ValueError) as error:
        return left_undone(_NOT_DRAWN, error)
    return None


def curve_kept_out(path: Path) -> Problem | None:
    """Return what stands in the way of the curve, or None; a run tells it in its plan."""
    try:
        if path.exists() and not is_made_by(path, _COMMAND):
            return left_undone(_NOT_DRAWN, in_the_way(path, "the loss curve"))
    except (BlissmaskError, OSError) as error:
        return left_undone(_NOT_DRAWN, error)
    return None


def smoothing_length(lines: Sequence[Mapping[str, float]]) -> float:
    """Return over how many steps lines are smoothed: a fortieth of the run, at least 5; by eye, its shape stays."""
    return max(5.0, len(lines) / 40)


def draw_curve(lines: Sequence[Mapping[str, float]], *, title: str) -> NDArray[np.uint8]:
    """Draw loss, smoothed loss, loss per region and learning rate over the steps, as RGB (height, 1200, 3).

    Args:
        lines: of the step log; at least one has a ``loss`` that can be drawn.
        title: at the top.
    """
    steps, values = smoothed(_points(lines, "loss"), smoothing_length(lines))
    return draw_chart(title, f"step {steps[-1]:,.0f}, smoothed loss {values[-1]:.4g}", _panels(lines), axis=_AXIS)


def svg_curve(lines: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield the same as an element of a page, in the colours of its scheme; nothing where no line has a ``loss``."""
    if _has_loss(lines):
        yield from svg_chart(_panels(lines), axis=_AXIS, about=_ABOUT)


def _has_loss(lines: Sequence[Mapping[str, float]]) -> bool:
    return len(_points(lines, "loss")[0]) > 0


def _panels(lines: Sequence[Mapping[str, float]]) -> list[Panel]:
    length = smoothing_length(lines)
    loss = _points(lines, "loss")
    panels = [Panel("Loss", tuple(_loss_lines(lines, loss, length)), height=300)]
    held = _held_lines(lines, length)
    if held:
        # On an axis of its own: it is so small beside the loss that both would be straight lines on one.
        panels.append(Panel("Distance from the base model, smoothed", tuple(held), height=130))
    regions = _region_lines(lines, length)
    if regions:
        panels.append(Panel("Loss per region, smoothed", tuple(regions), height=220))
    likeness = _likeness_lines(lines)
    if likeness:
        panels.append(Panel("Likeness of faces in previews", tuple(likeness), height=160, from_zero=True))
    rate = _points(lines, "lr")
    if len(rate[0]):
        panels.append(Panel("Learning rate", (Line("", _RATE, rate),), height=110, from_zero=True))
    return panels


def smoothed(points: Points, length: float) -> Points:
    """Return the exponential running mean of ``points``.

    The mean is divided by the weights that it has seen so far, so that it does not start near 0.

    Args:
        points: steps and values.
        length: > 1; a value's weight falls to 1/e after this many others.
    """
    steps, values = points
    keep = 1 - 1 / length
    total = weight = 0.0
    means = []
    for value in values:
        total, weight = keep * total + float(value), keep * weight + 1
        means.append(total / weight)
    return steps, np.array(means)


def _loss_lines(lines: Sequence[Mapping[str, float]], loss: Points, length: float) -> list[Line]:
    """Return the lines of the upper panel, from back to front."""
    width = 1.0 if len(lines) > _MANY_STEPS else 1.6
    drawn = [Line("each step", _EACH_STEP, loss, width=width, bounds=False)]
    # Two experts have lines of their own: their losses differ because they learn at different noise levels.
    experts = [name for name in _EXPERTS if len(_points(lines, f"loss/{name}")[0])]
    for name in experts:
        colour, label = _EXPERTS[name], f"{name} noise, "
        drawn.append(Line(f"{label}smoothed", colour, smoothed(_points(lines, f"loss/{name}"), length), width=2.5))
        drawn += _held_out_line(lines, f"val/loss/{name}", f"{label}held out", colour)
    if not experts:
        drawn.append(Line("smoothed", _SMOOTHED, smoothed(loss, length), width=2.5))
        drawn += _held_out_line(lines, "val/loss", "held out", _HELD_OUT)
    return drawn


def _held_out_line(lines: Sequence[Mapping[str, float]], name: str, label: str, colour: Colour) -> list[Line]:
    points = _points(lines, name)
    return [Line(label, colour, points, width=1.2, dots=True)] if len(points[0]) else []


def _held_lines(lines: Sequence[Mapping[str, float]], length: float) -> list[Line]:
    """Return how far what is held to the base model is from it, outside the masks and with the class word."""
    wanted = [
        ("outside the mask", _PRIOR, _points(lines, "prior/loss")),
        ("with the class word", _CLASS_WORD, _points(lines, "trigger_free/loss")),
    ]
    return [Line(label, colour, smoothed(points, length)) for label, colour, points in wanted if len(points[0])]


def _region_lines(lines: Sequence[Mapping[str, float]], length: float) -> list[Line]:
    drawn = []
    for tier in TIERS:
        points = _points(lines, f"loss/{tier.value}")
        if len(points[0]):
            drawn.append(Line(tier.value, _REGIONS[tier], smoothed(points, length)))
    return drawn


def _likeness_lines(lines: Sequence[Mapping[str, float]]) -> list[Line]:
    """Return how alike the faces in previews and the subject are: the subject's own, and other people's.

    Several subjects have a line each instead of their mean.
    """
    names = dict.fromkeys(name for line in lines for name in line if name.startswith(_OF_A_SUBJECT))
    wanted = [(name, name.removeprefix(_OF_A_SUBJECT), colour) for name, colour in zip(names, _SUBJECTS, strict=False)]
    wanted = wanted or [("likeness/subject", "subject", _SMOOTHED)]
    drawn = []
    for name, label, colour in [*wanted, ("likeness/others", "other people", _HELD_OUT)]:
        points = _points(lines, name)
        if len(points[0]):
            drawn.append(Line(label, colour, points, dots=True))
    return drawn


def _points(lines: Sequence[Mapping[str, float]], name: str) -> Points:
    """Return the steps that have a number of this name, and the numbers; both may be empty.

    Numbers beyond those of float32, which the steps of a training are in, and no numbers cannot be drawn.
    """
    found = np.array([(line["step"], line[name]) for line in lines if name in line], dtype=np.float64).reshape(-1, 2)
    steps, values = found[(np.abs(found) <= np.finfo(np.float32).max).all(axis=1)].T
    return steps, values
