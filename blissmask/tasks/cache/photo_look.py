"""What a look at a photo found, as the cache remembers it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blissmask.media.likeness import Likeness

_TEXT = re.compile(
    r"(?P<likeness>[0-9a-f]*) hidden (?P<hidden>[01]\.\d{3}), frames (?P<frames>\d{1,9})(?P<side>, on its side)?"
)


@dataclass(frozen=True, slots=True)
class Look:
    """What a photo shows, hides, and how it lies.

    Attributes:
        likeness: tells the same photo in another file; None for pictures without anything to tell them by.
        hidden_share: share of its pixels that are transparent, 0..1.
        frame_count: frames of an animation, 1 for photos.
        on_its_side: whether a face lies on its side, and EXIF does not say so.
    """

    likeness: Likeness | None = None
    hidden_share: float = 0.0
    frame_count: int = 1
    on_its_side: bool = False

    def __str__(self) -> str:
        """Return ``LIKENESS hidden 0.250, frames 1, on its side``."""
        side = ", on its side" if self.on_its_side else ""
        return f"{self.likeness or ''} hidden {self.hidden_share:.3f}, frames {self.frame_count}{side}"

    @classmethod
    def parse(cls, text: str) -> Look | None:
        """Return the look in ``text``, or None when it is not such a text."""
        match = _TEXT.fullmatch(text)
        if match is None:
            return None
        return cls(
            likeness=Likeness.parse(match["likeness"]),
            hidden_share=float(match["hidden"]),
            frame_count=int(match["frames"]),
            on_its_side=match["side"] is not None,
        )
