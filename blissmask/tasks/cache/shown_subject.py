"""What an item's mask shows of its subject, as the cache remembers it, so that fresh masks are not opened again."""

from __future__ import annotations

import re
import struct

from blissmask.masks.sight import Box, Sight

_DIGITS = 4
"""Decimals of positions: a ten-thousandth of a side is half a pixel of the largest photos."""
_UNITS = 10**_DIGITS
_FORMAT = struct.Struct("<4H")
_NO_BOX = (0xFFFF,) * 4
"""Stands for a box that is not there; positions end at 10,000 units."""
_NUMBER = rf"(0\.\d{{{_DIGITS}}}|1\.0{{{_DIGITS}}})"
_BOX = rf"(none|{','.join([_NUMBER] * 4)})"
_TEXT = re.compile(rf"subject {_BOX}; head {_BOX}; face {_BOX}")
_GROUPS = 5
"""Groups of a box in the pattern: its text, and four numbers."""


class ShownSubject(bytes):
    """Where a mask shows what: three boxes, as bytes, since plans hold them for every item."""

    __slots__ = ()

    @property
    def subject(self) -> Box | None:
        """Return the box around the subject; None where the mask shows none."""
        return self._box(0)

    @property
    def head(self) -> Box | None:
        """Return the box around the heaviest head that shows a face, hair included; None where there is none."""
        return self._box(1)

    @property
    def face(self) -> Box | None:
        """Return the box around the face of that head; None where there is none."""
        return self._box(2)

    @classmethod
    def of(cls, sight: Sight) -> ShownSubject:
        """Return what is remembered of a mask, already rounded: a zoom must come out the same from the cache."""
        with_face = [head for head in sight.heads if head.face is not None]
        head, face = (with_face[0].box, with_face[0].face) if with_face else (None, None)
        return cls(b"".join(map(_packed, (sight.subject, head, face))))

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
        return cls(b"".join(_packed(_box_in(group)) for group in boxes))

    def _box(self, number: int) -> Box | None:
        units = _FORMAT.unpack_from(self, number * _FORMAT.size)
        if units == _NO_BOX:
            return None
        left, top, right, bottom = (unit / _UNITS for unit in units)
        return Box(left, top, right, bottom)


def _packed(box: Box | None) -> bytes:
    if box is None:
        return _FORMAT.pack(*_NO_BOX)
    return _FORMAT.pack(*(round(position * _UNITS) for position in (box.left, box.top, box.right, box.bottom)))


def _box_text(box: Box | None) -> str:
    if box is None:
        return "none"
    return ",".join(f"{position:.{_DIGITS}f}" for position in (box.left, box.top, box.right, box.bottom))


def _box_in(groups: tuple[str, ...]) -> Box | None:
    if groups[0] == "none":
        return None
    left, top, right, bottom = (float(number) for number in groups[1:])
    return Box(left, top, right, bottom)
