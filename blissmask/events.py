"""What a running task tells the outside: events, and the Reporter that receives them.

Tasks emit events and never print. The terminal, the JSON stream and the tests are three Reporters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from blissmask.errors import Problem


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A stretch of work begins, e.g. "Encoding" over 412 items; ``total`` None when unknown."""

    phase: str
    total: int | None
    unit: str = "items"


@dataclass(frozen=True, slots=True)
class Advanced:
    """``count`` more items of the current phase are done; ``item`` is the one in hand; ``note`` is short extra text."""

    count: int = 1
    item: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class PhaseFinished:
    """The current phase is over."""

    phase: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a user should know; the work goes on."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Noted:
    """A line of information, e.g. which device is used."""

    text: str


@dataclass(frozen=True, slots=True)
class Announced:
    """Text that is always shown, also with ``--quiet``, e.g. the mask-loss banner. Lines are printed as they are."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """Numbers at one training step; keys are metric names such as ``loss`` or ``loss/face``."""

    step: int
    values: Mapping[str, float]


Event = PhaseStarted | Advanced | PhaseFinished | Warned | Noted | Announced | Measured


class Reporter(Protocol):
    """Receives events, from one thread at a time."""

    def emit(self, event: Event) -> None:
        """Take notice of ``event``; must not raise."""


class NullReporter:
    """Ignores everything."""

    def emit(self, event: Event) -> None:
        """Ignore ``event``."""
