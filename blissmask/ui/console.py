"""The two consoles, and how text is brought to them: talk goes to stderr, data to stdout.

Text is printed as it is, never read as markup.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import textwrap
import unicodedata
from typing import IO, Any, cast

from rich.console import Console  # noqa: TID251


@functools.cache
def out() -> Console:
    """Return the console for results, on stdout."""
    data = cast("IO[str]", _data)
    return Console(file=data, highlight=False, markup=False, emoji=False, soft_wrap=True)


@functools.cache
def err() -> Console:
    """Return the console for progress, warnings and errors, on stderr."""
    talk = cast("IO[str]", _talk)
    return Console(file=talk, stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def empty_line() -> None:
    """Print an empty line on stderr, unless whoever reads it has one above already."""
    if _talk.seen().tail != "\n\n":
        err().print()


def start_paragraph() -> None:
    """Print an empty line on stdout, unless it is at its beginning or whoever reads it has one above already."""
    if _data.seen().tail not in ("", "\n\n"):
        out().print()


class _Seen:
    """What was printed last where a stream is read.

    Attributes:
        tail: its last two characters.
    """

    tail = ""

    def add(self, text: str) -> None:
        """Remember the end of a text that was printed."""
        self.tail = (self.tail + text)[-2:]


class _LastSeen:
    """What was printed last on a stream; whatever takes its place begins anew."""

    def __init__(self) -> None:
        self._stream: object = None
        self._seen = _Seen()

    def on(self, stream: object) -> _Seen:
        """Return what was printed last on the stream that is there now."""
        if self._stream is not stream:
            self._stream, self._seen = stream, _Seen()
        return self._seen


class _Data:
    """The present stdout."""

    def __init__(self) -> None:
        self._last = _LastSeen()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)

    def write(self, text: str) -> int:
        """Write ``text``."""
        self.seen().add(text)
        return sys.stdout.write(text)

    def seen(self) -> _Seen:
        """Return what was printed last where stdout is read."""
        return _talk.seen() if sys.stdout.isatty() else self._last.on(sys.stdout)


class _Talk:
    """The present stderr, for runs that outlive whoever reads it.

    A closed terminal, or a ``tee`` that Ctrl-C has ended, must not end a training before it is saved: what nobody can
    read any more is dropped.
    """

    def __init__(self) -> None:
        self._last = _LastSeen()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        """Write ``text`` where somebody reads it."""
        self.seen().add(text)
        with contextlib.suppress(OSError):
            return sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush where somebody reads it."""
        with contextlib.suppress(OSError):
            sys.stderr.flush()

    def seen(self) -> _Seen:
        """Return what was printed last where stderr is read."""
        return self._last.on(sys.stderr)


_data, _talk = _Data(), _Talk()

ALARM = "bold red"
WARNING = "bold color(166)"
ADVICE = "bold color(31)"
NAME = "color(31)"
DONE = "color(28)"
"""Colours of words, from the 256 that terminals have and no scheme changes: yellow, cyan and green of the first 16
cannot be read on white. Contrast on white, black: orange 166 3.8, 5.5; blue 31 4.1, 5.1; green 28 4.7, 4.5 (WCAG asks
for 3 where letters are bold)."""
_KEPT_SPACE = "\0"
_QUOTED = re.compile(r"`[^`]*`")


def folded(console: Console, text: str, *, hanging: int, column: int = 0) -> str:
    """Break ``text`` at spaces where a terminal would cut words in two; redirected text stays on one line, for `grep`.

    What stands in backticks, and what went through :func:`unbroken`, is never broken.

    Args:
        console: where it will be printed.
        text: one line, printable.
        hanging: spaces in front of the lines that follow the first.
        column: where on its line the text begins.
    """
    if console.is_terminal:
        kept = _QUOTED.sub(lambda quoted: unbroken(quoted[0]), text)
        before, after = " " * column, " " * hanging
        fold = textwrap.TextWrapper(console.width, before, after, break_long_words=False, break_on_hyphens=False)
        text = fold.fill(kept)[column:]
    return text.replace(_KEPT_SPACE, " ")


def unbroken(text: str) -> str:
    """Mark ``text``, e.g. a path with spaces, for :func:`folded` to keep on one line."""
    return text.replace(" ", _KEPT_SPACE)


def printable(text: str) -> str:
    """Return ``text`` with control characters and undecodable bytes as escapes; no file name can break a line."""
    return "".join(
        char if _shows(char) else char.encode("unicode_escape", "backslashreplace").decode("ascii") for char in text
    )


def _shows(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cs", "Cf") or char in "\u200d\ufe0f"


def clock_text(seconds: float) -> str:
    """Return a time as a clock shows it, for progress: ``1:05`` or ``2:03:40``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration_text(seconds: float) -> str:
    """Return a time in words, for summaries: ``4.2 s``, ``3 min 07 s`` or ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
