"""The licence of a backend's weights; every backend states it, and every run shows and records it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence of a backend's weights.

    Attributes:
        name: SPDX identifier or the licence's own name, e.g. ``Apache-2.0`` or ``CC-BY-NC-4.0``.
        commercial: whether commercial use is allowed; False also when it is unknown.
        note: one sentence that a user should read before relying on the weights; may be empty.
    """

    name: str
    commercial: bool
    note: str = ""

    def in_words(self) -> str:
        """Return "AGPL-3.0, commercial use allowed; who ships it must publish the source"."""
        use = "commercial use allowed" if self.commercial else "no commercial use"
        note = f"; {self.note}" if self.note else ""
        return f"{self.name}, {use}{note}"
