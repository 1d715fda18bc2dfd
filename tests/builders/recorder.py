"""A reporter for tests; it imports no torch, so that the tests of masks need none."""

from __future__ import annotations

from typing import Any

from blissmask.events import Event, Noted


class Recorder:
    """A Reporter that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def notes(self) -> list[str]:
        """Return the texts of what was noted, in order."""
        return [event.text for event in self.of(Noted)]
