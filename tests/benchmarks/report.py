"""What every benchmark returns, and how it is shown: rows of one table, under a line about the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

HEADINGS = ("what", "measured", "goal", "ratio", "verdict")


class Size(StrEnum):
    """How much a benchmark works: ``SMALLEST`` takes seconds and only shows that it runs."""

    SMALLEST = "smallest"
    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        what: what was measured, with its conditions.
        measured: the value, in ``unit``.
        unit: e.g. ``s``; empty for a ratio.
        goal: what it should reach; None where it is only told.
        more_is_better: whether values above the goal are good.
    """

    what: str
    measured: float
    unit: str = ""
    goal: float | None = None
    more_is_better: bool = False

    @property
    def reached(self) -> bool | None:
        """Say whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.measured >= self.goal if self.more_is_better else self.measured <= self.goal

    def cells(self) -> tuple[str, ...]:
        """Return the texts of the table's columns."""
        if self.goal is None:
            return self.what, self._text(self.measured), "", "", ""
        goal = f"{'>=' if self.more_is_better else '<='} {self._text(self.goal)}"
        return (
            self.what,
            self._text(self.measured),
            goal,
            f"{self.measured / self.goal:.2f}",
            "reached" if self.reached else "missed",
        )

    def _text(self, value: float) -> str:
        number = f"{value:.0e}" if 0 < abs(value) < 0.001 else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}"
        return f"{number} {self.unit}".strip()


def table(rows: Iterable[Row]) -> str:
    """Return the rows under their headings, columns aligned."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def machine() -> str:
    """Return processor, cores, memory, load and versions: without them no figure says anything."""
    import torch

    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    return f"{_processor()}, {cores}, {_memory_gib():.0f} GiB{device}; Python {platform.python_version()}, torch {torch.__version__}"


def _processor() -> str:
    """Return the processor's name as Linux tells it, elsewhere as Python does."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
