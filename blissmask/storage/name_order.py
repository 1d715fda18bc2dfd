"""Names in the order in which people number their files: ``photo2.png`` before ``photo10.png``."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"([0-9]+)")

NameOrder = tuple[tuple[str | int, ...], str]
"""What names are sorted by."""


def by_numbers(name: str) -> NameOrder:
    """Return a sort key in which the numbers of a name are numbers; names whose numbers are equal go by their text.

    Splitting at the numbers gives text at even and numbers at odd positions, so text is never compared with a number.
    """
    parts = _DIGITS.split(name)
    return tuple(int(part) if position % 2 else part for position, part in enumerate(parts)), name
