"""What a part gives, where it runs, and how long it may."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        what: what was done, with its conditions.
        result: what came of it, e.g. ``412 ms, 9.1 GiB``, or why there is nothing.
        values: the same as numbers, for the JSON file; the unit is in the name.
        failed: whether something broke; not set for what was skipped or did not fit.
    """

    what: str
    result: str
    values: dict[str, float]
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part runs.

    Attributes:
        folder: for what it writes.
        device: the GPU; the CPU in a rehearsal, where everything is in miniature.
        deadline: by ``time.perf_counter``; nothing is begun after it.
        musubi: a copy of musubi-tuner's source; None where there is none.
    """

    folder: Path
    device: torch.device
    deadline: float
    musubi: Path | None = None

    @property
    def rehearses(self) -> bool:
        """Whether this only shows that everything runs."""
        return self.device.type == "cpu"

    @property
    def seconds_left(self) -> float:
        """Return how long the part may still run."""
        return self.deadline - time.perf_counter()

    def until(self, deadline: float) -> Place:
        """Return the same place with the deadline of one part."""
        return replace(self, deadline=deadline)


def skipped(what: str, why: str) -> Figure:
    """Return the line of what was not done."""
    return Figure(what, f"skipped: {why}", {})


def table(figures: Iterable[Figure]) -> str:
    """Return the lines, their results aligned."""
    lines = list(figures)
    width = max((len(figure.what) for figure in lines), default=0)
    return "\n".join(
        f"{figure.what.ljust(width)}  {'FAILED: ' if figure.failed else ''}{figure.result}" for figure in lines
    )
