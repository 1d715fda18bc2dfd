"""Encode captions for HunyuanVideo 1.5: Qwen2.5-VL in a chat template, byT5 for quoted words that are drawn as letters.

Sources: the HunyuanVideo-1.5 repository and diffusers' HunyuanVideo15Pipeline. L: rows of one caption; D: width, 3584
and 1472.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from blissmask.families.encoders.taps import cut_after
from blissmask.families.encoders.text_batches import decoder_rows
from blissmask.families.hunyuan15.parts import CAPTIONS
from blissmask.families.protocol import EncodedText

_GLYPH_TOKENS = 256
_SKIPPED_LAYERS = 2
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
        from transformers import ByT5Tokenizer

        self.identity = identity
        self._qwen = cut_after(qwen, len(qwen.layers) - _SKIPPED_LAYERS)
        self._qwen_tokenizer = qwen_tokenizer
        self._byt5 = byt5
        self._byt5_tokenizer = ByT5Tokenizer()

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        glyphs = {caption: glyph_text(caption) for caption in captions}
        # The head has 108 rows with the released tokenizer.
        head_rows = CAPTIONS.head_tokens(self._qwen_tokenizer)
        caption_rows = decoder_rows(self._qwen, CAPTIONS.token_ids(self._qwen_tokenizer, captions), skip=head_rows)
        glyph_rows = {text: self._glyph_rows(text) for text in set(glyphs.values())}
        encoded = []
        for caption in captions:
            tensors = {"vl_embed": caption_rows[caption], "byt5_embed": glyph_rows[glyphs[caption]]}
            encoded.append(EncodedText(tensors, variable_length=frozenset(tensors)))
        return encoded

    def _glyph_rows(self, text: str) -> Tensor:
        weight = self._byt5.shared.weight
        if not text:
            return torch.zeros(0, weight.shape[1], dtype=weight.dtype)
        tokens = self._byt5_tokenizer(text, max_length=_GLYPH_TOKENS, truncation=True, add_special_tokens=True)
        ids_1L = torch.tensor([tokens["input_ids"]], device=weight.device)
        return self._byt5(input_ids=ids_1L).last_hidden_state[0].cpu()  # type: ignore[no-any-return]
