"""What an item's mask shows of its subject, as the cache remembers it, so that fresh masks are not opened again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blissmask.masks.sight import Box, Sight

_DIGITS = 4
"""Decimals of positions: a ten-thousandth of a side is half a pixel of the largest photos."""
_NUMBER = rf"([01]\.\d{{{_DIGITS}}})"
_BOX = rf"(none|{','.join([_NUMBER] * 4)})"
_TEXT = re.compile(rf"subject {_BOX}; head {_BOX}; face {_BOX}")
_GROUPS = 5
"""Groups of a box in the pattern: its text, and four numbers."""


@dataclass(frozen=True, slots=True)
class ShownSubject:
    """Where a mask shows what; None where it does not show it, or does not tell it from the rest.

    Attributes:
        subject: around the subject.
        head: around the heaviest head that shows a face, hair included.
        face: around its face.
    """

    subject: Box | None
    head: Box | None
    face: Box | None

    @classmethod
    def of(cls, sight: Sight) -> ShownSubject:
        """Return what is remembered of a mask, already rounded: a zoom must come out the same from the cache."""
        with_face = [head for head in sight.heads if head.face is not None]
        head = with_face[0] if with_face else None
        if head is None:
            return cls(_rounded(sight.subject), None, None)
        return cls(_rounded(sight.subject), _rounded(head.box), _rounded(head.face))

    def __str__(self) -> str:
        """Return ``subject 0.1000,0.2000,0.5000,1.0000; head none; face none``."""
        return f"subject {_box_text(self.subject)}; head {_box_text(self.head)}; face {_box_text(self.face)}"

    @classmethod
    def parse(cls, text: str) -> ShownSubject | None:
        """Return what ``text`` says, or None when it is not such a text."""
        match = _TEXT.fullmatch(text)
        if match is None:
            return None
        groups = match.groups()
        boxes = [groups[start : start + _GROUPS] for start in range(0, 3 * _GROUPS, _GROUPS)]
        subject, head, face = (_box_in(group) for group in boxes)
        return cls(subject, head, face)


def _rounded(box: Box | None) -> Box | None:
    if box is None:
        return None
    return Box(round(box.left, _DIGITS), round(box.top, _DIGITS), round(box.right, _DIGITS), round(box.bottom, _DIGITS))


def _box_text(box: Box | None) -> str:
    if box is None:
        return "none"
    return ",".join(f"{position:.{_DIGITS}f}" for position in (box.left, box.top, box.right, box.bottom))


def _box_in(groups: tuple[str, ...]) -> Box | None:
    if groups[0] == "none":
        return None
    left, top, right, bottom = (float(number) for number in groups[1:])
    return Box(left, top, right, bottom)
