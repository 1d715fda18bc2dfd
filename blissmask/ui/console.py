"""The two consoles: talk goes to stderr, data to stdout. Text is printed as it is, never read as markup."""

from __future__ import annotations

import functools
import unicodedata

from rich.console import Console  # noqa: TID251


@functools.cache
def out() -> Console:
    """Return the console for results, on stdout."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


@functools.cache
def err() -> Console:
    """Return the console for progress, warnings and errors, on stderr."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def printable(text: str) -> str:
    """Return ``text`` with control characters and undecodable bytes shown as escapes, so that a file name cannot break a line."""
    return "".join(char if _shows(char) else char.encode("unicode_escape", "backslashreplace").decode("ascii") for char in text)


def _shows(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cs", "Cf") or char in "\u200d\ufe0f"
