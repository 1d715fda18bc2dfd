"""How much of a caption a text encoder reads, and which words would be lost beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LONGEST_WORD = 40
"""Characters; what has no space for longer is a script that is written without."""


def _as_it_is(caption: str) -> str:
    return caption


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionLimit:
    """The limit of a text encoder.

    Attributes:
        tokens: how many tokens are read of the caption; of head and caption together where ``counts_head``.
        head: what stands before the caption; no token spans both.
        counts_head: whether the head takes its room from the caption.
        tail: what stands behind the caption and takes its room from it; empty where the tail is cut with the caption.
        marks: whether the tokenizer adds its own marks of beginning and end.
        clean: what is made of a caption before it is read.
    """

    tokens: int
    head: str = ""
    counts_head: bool = False
    tail: str = ""
    marks: bool = True
    clean: Callable[[str], str] = _as_it_is


@dataclass(frozen=True, slots=True)
class Overlong:
    """A caption that is longer than its encoder reads.

    Attributes:
        tokens: of the whole caption.
        lost: its end, from the first word that is not read whole.
    """

    tokens: int
    lost: str


class CaptionReader:
    """Counts the tokens of captions as the encoder will read them.

    Args:
        limit: of the encoder.
        tokenizer: its own, loaded.

    Attributes:
        most: tokens of a caption that are read.
    """

    def __init__(self, limit: CaptionLimit, tokenizer: Any) -> None:
        self._limit = limit
        self._tokenizer = tokenizer
        self._head_tokens = self._count_all("")
        around = self._head_tokens if limit.counts_head else 0
        if limit.tail:
            around += len(tokenizer(limit.tail, add_special_tokens=limit.marks)["input_ids"])
        self.most = limit.tokens - around

    def overlong(self, caption: str) -> Overlong | None:
        """Return what would be lost of a caption; None where all of it is read."""
        text = self._limit.clean(caption)
        # A token is one byte of UTF-8 at least.
        if len(text.encode("utf-8", "replace")) <= self.most:
            return None
        tokens = self._count(text)
        if tokens <= self.most:
            return None
        # The longest beginning that is read, by halving: counts rise with the text.
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if self._count(text[:middle]) <= self.most:
                fits = middle
            else:
                too_long = middle
        return Overlong(tokens, text[_word_start(text, fits) :])

    def _count(self, text: str) -> int:
        return self._count_all(text) - self._head_tokens

    def _count_all(self, text: str) -> int:
        """Return the tokens of head and text, marks at both ends included."""
        tokens = self._tokenizer(self._limit.head + text, add_special_tokens=self._limit.marks, verbose=False)
        return len(tokens["input_ids"])


def _word_start(text: str, position: int) -> int:
    """Return where the word begins that is cut at ``position``; ``position`` itself in scripts without spaces."""
    if text[position].isspace():
        return position + 1
    start = max(text.rfind(space, 0, position) for space in " \n") + 1
    return start if position - start <= _LONGEST_WORD else position
