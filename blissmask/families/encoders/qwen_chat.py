"""The chat template of the Qwen models, in which a caption is the user's turn."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders.captions import CaptionTemplate

SPECIALS = ("<|im_start|>", "<|im_end|>")
TAIL = "<|im_end|>\n<|im_start|>assistant\n"
"""What follows a caption: the beginning of the answer."""


def head(system: str = "") -> str:
    """Return what stands before a caption, with ``system`` as the instruction of a system turn."""
    instruction = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"{instruction}<|im_start|>user\n"


def captions_in_chat(system: str = "", *, tokens: int, **reading: Any) -> CaptionTemplate:
    """Return how captions are read in a chat.

    Args:
        system: as for :func:`head`.
        tokens: how many are read.
        reading: further attributes of :class:`CaptionTemplate`.
    """
    return CaptionTemplate(**{"tokens": tokens, "head": head(system), "tail": TAIL, "specials": SPECIALS, **reading})
