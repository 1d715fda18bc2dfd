"""Encode captions for HunyuanVideo 1.5: Qwen2.5-VL in a chat template, byT5 for quoted words that are drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from blissmask.families.encoders import t5
from blissmask.families.encoders.decoder_text import DecoderTextEncoder
from blissmask.families.hunyuan15.parts import READING
from blissmask.families.protocol import EncodedText

_GLYPH_TOKENS = 256
"""Of quoted words; the end of more is cut off, as in diffusers' pipeline."""
_QUOTED = re.compile(r"\"(.*?)\"|“(.*?)”")


def glyph_text(caption: str) -> str:
    """Return what byT5 reads of a caption: each quoted word once as ``Text "..". ``; empty when nothing is quoted."""
    words = [straight or curly for straight, curly in _QUOTED.findall(caption)]
    return "".join(f'Text "{word}". ' for word in dict.fromkeys(words))


class Hunyuan15TextEncoder:
    """Encodes into ``vl_embed`` (L, 3584) and ``byt5_embed`` (L, 1472), where L may be 0.

    Args:
        qwen: ``Qwen2_5_VLTextModel``; its last two layers are removed.
        byt5: ``T5EncoderModel``.
        qwen_tokenizer: the tokenizer of ``qwen``.
        identity: names weights and tokenizers by content.
    """

    def __init__(self, qwen: Any, byt5: Any, qwen_tokenizer: Any, *, identity: str) -> None:
        self.identity = identity
        self._qwen = DecoderTextEncoder(qwen, qwen_tokenizer, reading=READING, identity=identity)
        self._byt5 = byt5

    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        glyphs = {caption: glyph_text(caption) for caption in captions}
        glyph_rows = {text: t5.byte_rows(self._byt5, text, _GLYPH_TOKENS) for text in set(glyphs.values())}
        caption_rows = self._qwen.rows(captions)
        encoded = []
        for caption in captions:
            tensors = {"vl_embed": caption_rows[caption], "byt5_embed": glyph_rows[glyphs[caption]]}
            encoded.append(EncodedText(tensors, variable_length=frozenset(tensors)))
        return encoded
