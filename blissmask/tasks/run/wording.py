"""Say numbers of things in the plural or singular."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return "1 mask" or "3 masks"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def verb(number: int, one: str, many: str) -> str:
    """Return the form of a verb or pronoun that fits ``number``: ``verb(n, "is", "are")``."""
    return one if number == 1 else many
