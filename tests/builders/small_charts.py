"""Loss curves that nobody looks at: each training draws one, in its own size a quarter of a training in miniature."""

from __future__ import annotations

import pytest

from blissmask.media import chart


def draw_small_charts(patch: pytest.MonkeyPatch) -> None:
    """Draw every chart with the same pen on a ninth of the points, not smoothed.

    In its own size one is drawn by `unit/media/test_chart.py`, and by the commands of `e2e/`.
    """
    patch.setattr(chart, "WIDTH", 400)
    patch.setattr(chart, "_FINE", 1)
