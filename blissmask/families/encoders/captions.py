"""How text encoders read captions: the wording around them, what is read and kept, which words would be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

_LONGEST_WORD = 40
"""Characters; what has no space for longer is a script that is written without."""


def _as_it_is(caption: str) -> str:
    return caption


def not_empty(caption: str) -> str:
    """Return a caption, or a space for an empty one, as diffusers' HunyuanVideo15Pipeline reads it."""
    return caption or " "


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionTemplate:
    """The wording around a caption, and how many tokens of it a text encoder reads.

    Attributes:
        tokens: how many tokens are read behind the head; of the head, too, where ``counts_head``.
        head: what stands before the caption; no token spans both.
        tail: what stands behind the caption.
        specials: the special tokens in both, which the tokenizer must know.
        counts_head: whether the head takes its room from the caption.
        keeps_tail: whether a long caption is cut before the tail; else the tail is cut off with the end of the caption.
        marks: whether the tokenizer adds its own marks of beginning and end.
        clean: what is made of a caption before it is read.
    """

    tokens: int
    head: str = ""
    tail: str = ""
    specials: tuple[str, ...] = ()
    counts_head: bool = False
    keeps_tail: bool = False
    marks: bool = True
    clean: Callable[[str], str] = _as_it_is

    def around(self, caption: str) -> str:
        """Return the whole text of a caption."""
        return f"{self.head}{self.clean(caption)}{self.tail}"

    def head_tokens(self, tokenizer: Any) -> int:
        """Return how many tokens the head has."""
        return len(self._ids(tokenizer, self.head))

    def token_ids(self, tokenizer: Any, captions: Iterable[str]) -> dict[str, list[int]]:
        """Return caption -> the tokens of its whole text, cut to what is read."""
        most = self.tokens if self.counts_head else self.head_tokens(tokenizer) + self.tokens
        if not self.keeps_tail:
            return {caption: self._ids(tokenizer, self.around(caption))[:most] for caption in captions}
        tail = self._ids(tokenizer, self.tail)
        return {
            caption: self._ids(tokenizer, self.head + self.clean(caption))[: most - len(tail)] + tail
            for caption in captions
        }

    def _ids(self, tokenizer: Any, text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=self.marks)["input_ids"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReading:
    """How captions are read from a decoder.

    Attributes:
        content: what the cache calls the rows.
        captions: the wording around captions, and how many of their tokens are read.
        taps: after how many layers states are read, rising; -2 is before the last layer, -3 before the last two.
        keeps_head: whether the rows of the template's head are kept.
        joined: whether the states of a row stand side by side, (L, T * D); else in a table, (L, T, D).
        padded: whether every text is padded to as many rows as are read, for denoisers that attend to the padding.
    """

    content: str
    captions: CaptionTemplate
    taps: tuple[int, ...]
    keeps_head: bool = False
    joined: bool = True
    padded: bool = False


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
        template: of the encoder.
        tokenizer: its own, loaded.

    Attributes:
        most: tokens of a caption that are read.
    """

    def __init__(self, template: CaptionTemplate, tokenizer: Any) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._head_tokens = self._count_all("")
        around = self._head_tokens if template.counts_head else 0
        if template.keeps_tail:
            around += len(tokenizer(template.tail, add_special_tokens=template.marks)["input_ids"])
        self.most = template.tokens - around

    def overlong(self, caption: str) -> Overlong | None:
        """Return what would be lost of a caption; None where all of it is read."""
        text = self._template.clean(caption)
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
        tokens = self._tokenizer(self._template.head + text, add_special_tokens=self._template.marks, verbose=False)
        return len(tokens["input_ids"])


def _word_start(text: str, position: int) -> int:
    """Return where the word begins that is cut at ``position``; ``position`` itself in scripts without spaces."""
    if text[position].isspace():
        return position + 1
    start = max(text.rfind(space, 0, position) for space in " \n") + 1
    return start if position - start <= _LONGEST_WORD else position
