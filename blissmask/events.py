"""Events of a running task, and the Reporter that receives them.

Tasks emit events and never print. The terminal, the JSON stream and the tests each have a Reporter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from blissmask.errors import Problem


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase of the work begins, e.g. "Encoding" of 412 items.

    Attributes:
        phase: its name.
        total: how many items it has; None when the number is unknown.
        unit: what it counts.
        before: how many of them an earlier run did, which say nothing of the speed of this one.
    """

    phase: str
    total: int | None
    unit: str = "items"
    before: int = 0


@dataclass(frozen=True, slots=True)
class Advanced:
    """``count`` more items of the current phase are done; ``item`` is the current one, ``note`` a short extra text."""

    count: int = 1
    item: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class PhaseFinished:
    """The current phase is over."""

    phase: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A problem that the user should know of; the work continues."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Noted:
    """A line of information, e.g. which device is used."""

    text: str


@dataclass(frozen=True, slots=True)
class Announced:
    """Lines that are always shown, also with ``--quiet``, e.g. the mask-loss banner; they are printed as they are."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """Numbers at one training step of ``total``; keys are metric names such as ``loss`` or ``loss/face``."""

    step: int
    values: Mapping[str, float]
    total: int


@dataclass(frozen=True, slots=True)
class ItemLoss:
    """What training has seen of an item.

    Attributes:
        name: of the item.
        draws: how often it was drawn; steps that ignore the masks do not count.
        loss: the mean of its loss in the weighted region over those.
    """

    name: str
    draws: int
    loss: float


@dataclass(frozen=True, slots=True)
class ItemsMeasured:
    """The items that were drawn up to a training step, those with the highest loss first."""

    step: int
    items: Sequence[ItemLoss]


Event = PhaseStarted | Advanced | PhaseFinished | Warned | Noted | Announced | Measured | ItemsMeasured


class Reporter(Protocol):
    """Receives events, from one thread at a time."""

    def emit(self, event: Event) -> None:
        """Receive ``event``; must not raise."""


class NullReporter:
    """Ignores all events."""

    def emit(self, event: Event) -> None:
        """Ignore ``event``."""
