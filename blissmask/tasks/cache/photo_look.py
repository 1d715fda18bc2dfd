"""What a look at a photo found, as the cache remembers it."""

from __future__ import annotations

import re
import struct

from blissmask.media.likeness import Likeness

_TEXT = re.compile(
    r"(?P<likeness>[0-9a-f]*) hidden (?P<hidden>[01]\.\d{3}), frames (?P<frames>\d{1,9})(?P<side>, on its side)?"
)
_FORMAT = struct.Struct("<dI?")
"""Share that is hidden, frames, whether it lies on its side; the likeness follows."""


class Look(bytes):
    """What a photo shows, hides, and how it lies, as bytes, since plans hold them for every photo."""

    __slots__ = ()

    @classmethod
    def of(cls, likeness: Likeness | None, *, hidden_share: float, frame_count: int, on_its_side: bool) -> Look:
        """Return a look; arguments as the properties of the same names."""
        return cls(_FORMAT.pack(hidden_share, frame_count, on_its_side) + (likeness or b""))

    @property
    def likeness(self) -> Likeness | None:
        """Return what tells the same photo in another file; None for pictures without anything to tell them by."""
        return Likeness(self[_FORMAT.size :]) or None

    @property
    def hidden_share(self) -> float:
        """Return the share of its pixels that are transparent, 0..1."""
        return float(_FORMAT.unpack_from(self)[0])

    @property
    def frame_count(self) -> int:
        """Return the frames of an animation, 1 for photos."""
        return int(_FORMAT.unpack_from(self)[1])

    @property
    def on_its_side(self) -> bool:
        """Return whether a face lies on its side, and EXIF does not say so."""
        return bool(_FORMAT.unpack_from(self)[2])

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
        return cls.of(
            Likeness.parse(match["likeness"]),
            hidden_share=float(match["hidden"]),
            frame_count=int(match["frames"]),
            on_its_side=match["side"] is not None,
        )
