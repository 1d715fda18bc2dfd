"""The loss curve: a picture beside the LoRA of what the step log holds, drawn when a run ends or stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import BlissmaskError, InputError, Problem
from blissmask.masks.tiers import TIERS, WeightTier
from blissmask.media.chart import Line, Panel, Points, draw_chart
from blissmask.media.overlay import TIER_COLOURS, Colour
from blissmask.media.png import read_note, write_png_rgb
from blissmask.training.record.metrics import read_log

_COMMAND = "train"
_MANY = 400
_RAW, _LOSS, _PRIOR, _HELD_OUT, _RATE = (190, 208, 222), (0, 92, 150), (0, 158, 115), (204, 60, 120), (90, 90, 90)
_EXPERTS: Mapping[str, Colour] = {"high": (0, 92, 150), "low": (204, 121, 30)}
# On white paper the yellow of hair and the darkness of the background would not be seen.
_REGIONS: Mapping[WeightTier, Colour] = {
    **TIER_COLOURS,
    WeightTier.HAIR: (190, 160, 0),
    WeightTier.BACKGROUND: (120, 120, 120),
}


def save_curve(log: Path, path: Path, *, title: str) -> Problem | None:
    """Draw the curve of a step log; return what prevented it, for it must never cost a training.

    Args:
        log: as ``metrics.StepLog`` writes it.
        path: the picture, ``.png``; an earlier curve is replaced, any other picture is not.
        title: at the top, e.g. the name of the LoRA.
    """
    try:
        lines = read_log(log)
        if not any("loss" in line for line in lines):
            return None
        if path.exists() and not _is_curve(path):
            raise InputError("a picture that is not ours stands where the loss curve would go", where=[path])
        write_png_rgb(path, draw_curve(lines, title=title), note={"command": _COMMAND})
    except BlissmaskError as error:
        return Problem(
            "the loss curve was not drawn", tuple(problem.what for problem in error.problems), error.problems[0].fix
        )
    except (OSError, ValueError) as error:
        return Problem("the loss curve was not drawn", (str(error),))
    return None


def draw_curve(lines: Sequence[Mapping[str, float]], *, title: str) -> NDArray[np.uint8]:
    """Draw loss, smoothed loss, loss per region and learning rate over the steps, as RGB (height, 1200, 3).

    Args:
        lines: of the step log; ``loss`` in at least one.
        title: at the top.
    """
    smoothing = max(5.0, len(lines) / 40)
    panels = [Panel("Loss", tuple(_loss_lines(lines, smoothing)), 300)]
    regions = [(tier, _points(lines, f"loss/{tier.value}")) for tier in TIERS]
    shown = [(tier.value, _REGIONS[tier], points) for tier, points in regions if points is not None]
    if shown:
        panels.append(
            Panel("Loss per region, smoothed", tuple(Line(n, c, smoothed(p, smoothing)) for n, c, p in shown), 220)
        )
    rate = _points(lines, "lr")
    if rate is not None:
        panels.append(Panel("Learning rate", (Line("", _RATE, rate),), 110, from_zero=True))
    steps, values = smoothed(_points(lines, "loss"), smoothing)
    return draw_chart(title, f"step {steps[-1]:,.0f}, smoothed loss {values[-1]:.4g}", panels, axis="step")


def smoothed(points: Points | None, length: float) -> Points:
    """Return the running mean of ``points`` in which a value counts 1/e after ``length`` (> 1) others; the start is not drawn to 0."""
    assert points is not None
    steps, values = points
    keep = 1 - 1 / length
    total = weight = 0.0
    means = []
    for value in values:
        total, weight = keep * total + float(value), keep * weight + 1
        means.append(total / weight)
    return steps, np.array(means)


def _loss_lines(lines: Sequence[Mapping[str, float]], smoothing: float) -> list[Line]:
    """Return the lines of the upper panel, from back to front."""
    loss, prior = _points(lines, "loss"), _points(lines, "prior/loss")
    assert loss is not None
    drawn = [Line("each step", _RAW, loss, width=1.0 if len(lines) > _MANY else 1.6, bounds=False)]
    if prior is not None:
        drawn.append(Line("prior, smoothed", _PRIOR, smoothed(prior, smoothing)))
    # The losses of two experts differ by their noise alone, so each has lines of its own.
    experts = [name for name in _EXPERTS if any(f"loss/{name}" in line for line in lines)]
    for name in experts or [""]:
        points, held_out = (_points(lines, f"{kind}/{name}".rstrip("/")) for kind in ("loss", "val/loss"))
        label = f"{name} noise, " if name else ""
        drawn.append(Line(f"{label}smoothed", _EXPERTS.get(name, _LOSS), smoothed(points, smoothing), width=2.5))
        if held_out is not None:
            drawn.append(Line(f"{label}held out", _EXPERTS.get(name, _HELD_OUT), held_out, width=1.2, dots=True))
    return drawn


def _points(lines: Sequence[Mapping[str, float]], name: str) -> Points | None:
    """Return the steps that have a number of this name, and the numbers; None when none has."""
    found = [(line["step"], line[name]) for line in lines if name in line]
    if not found:
        return None
    steps, values = np.array(found, dtype=np.float64).T
    return steps, values


def _is_curve(path: Path) -> bool:
    note = read_note(path)
    return note is not None and note.content.get("command") == _COMMAND
