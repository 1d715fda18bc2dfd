"""The wording around a caption, and where the states of text are read. Source: diffusers' two pipelines of FLUX.2."""

from __future__ import annotations

from dataclasses import dataclass

from blissmask.families.encoders.captions import CaptionTemplate
from blissmask.families.encoders.qwen_chat import SPECIALS, TAIL, captions_in_chat

ROWS = 512
"""Rows of every text, padding included; a longer text is cut, its template too, as in diffusers."""


@dataclass(frozen=True, slots=True)
class TextReading:
    """How the text of a model is read.

    Attributes:
        captions: the wording, and how much of a caption fits into the rows.
        taps: numbers of layers after which states are read.
    """

    captions: CaptionTemplate
    taps: tuple[int, ...]

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Return what gives other embeddings from the same weights."""
        return (f"{self.captions.head}{{}}{self.captions.tail}", str(self.taps), str(ROWS))


def _without_pictures(caption: str) -> str:
    """Return a caption without the mark that stands for a picture."""
    return caption.replace("[IMG]", "")


# The wording is the models' training data: a changed letter changes every embedding.
KLEIN = TextReading(
    captions_in_chat(
        tokens=ROWS,
        # An empty thought: the chat template's `enable_thinking=False`.
        tail=f"{TAIL}<think>\n\n</think>\n\n",
        specials=(*SPECIALS, "<think>", "</think>"),
        counts_head=True,
        marks=False,
    ),
    taps=(9, 18, 27),
)
DEV = TextReading(
    CaptionTemplate(
        tokens=ROWS,
        # With the line feed in it, as in the original.
        head="<s>[SYSTEM_PROMPT]You are an AI that reasons about image descriptions. You give structured responses "
        "focusing on object relationships, object\nattribution and actions without speculation.[/SYSTEM_PROMPT][INST]",
        tail="[/INST]",
        specials=("<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"),
        counts_head=True,
        # The wording holds the token that begins a text.
        marks=False,
        clean=_without_pictures,
    ),
    taps=(10, 20, 30),
)
