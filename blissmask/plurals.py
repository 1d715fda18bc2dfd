"""Nouns that are counted, and the verbs beside them, for the messages of every floor."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return "1 mask" or "3 masks"; ``plural`` for a noun that takes more than an "s", such as "entries"."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def verb(number: int, one: str, many: str) -> str:
    """Return the form of a verb or pronoun that fits ``number``: ``verb(n, "is", "are")``."""
    return one if number == 1 else many


def listed(words: Iterable[str]) -> str:
    """Return words as a sentence has them: "a", "a and b", "a, b and c"."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
