"""The wording around a caption, and where the states of text are read. Source: diffusers' two pipelines of FLUX.2."""

from __future__ import annotations

from dataclasses import dataclass

from blissmask.families.encoders import qwen3
from blissmask.families.encoders.caption_limit import CaptionLimit

ROWS = 512
"""Rows of every text, padding included; a longer text is cut, its template too, as in diffusers."""


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """How a caption is read.

    Attributes:
        text: the wording, with ``{}`` for the caption.
        specials: the special tokens in it.
        taps: numbers of layers after which states are read.
        picture_mark: what stands for a picture; it is taken out of captions.
    """

    text: str
    specials: tuple[str, ...]
    taps: tuple[int, ...]
    picture_mark: str = ""

    def around(self, caption: str) -> str:
        """Return the whole text of a caption."""
        return self.text.format(self.cleaned(caption))

    def cleaned(self, caption: str) -> str:
        """Return what is read of a caption, without the mark of a picture."""
        return caption.replace(self.picture_mark, "")

    @property
    def caption_limit(self) -> CaptionLimit:
        """Return how much of a caption fits into the rows behind the wording."""
        head = self.text.partition("{}")[0]
        return CaptionLimit(tokens=ROWS, head=head, counts_head=True, marks=False, clean=self.cleaned)

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Return what gives other embeddings from the same weights."""
        return (self.text, str(self.taps), str(ROWS))


# The wording is the models' training data: a changed letter changes every embedding.
KLEIN = TextTemplate(
    # An empty thought: the chat template's `enable_thinking=False`.
    f"{qwen3.chat('{}')}<think>\n\n</think>\n\n",
    specials=(*qwen3.SPECIALS, "<think>", "</think>"),
    taps=(9, 18, 27),
)
DEV = TextTemplate(
    # With the line feed in it, as in the original.
    "<s>[SYSTEM_PROMPT]You are an AI that reasons about image descriptions. You give structured responses focusing on "
    "object relationships, object\nattribution and actions without speculation.[/SYSTEM_PROMPT][INST]{}[/INST]",
    specials=("<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"),
    taps=(10, 20, 30),
    picture_mark="[IMG]",
)
