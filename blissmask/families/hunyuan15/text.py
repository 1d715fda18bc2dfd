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

from blissmask.families.encoders.caption_limit import CaptionLimit
from blissmask.families.encoders.llama import without_last_layers
from blissmask.families.encoders.text_batches import decoder_rows
from blissmask.families.protocol import EncodedText

_CAPTION_TOKENS = 1000
_GLYPH_TOKENS = 256
_SKIPPED_LAYERS = 2
# The wording and the runs of spaces are the model's training data: a changed letter changes every embedding.
_SYSTEM = (" " * 9).join(
    (
        "You are a helpful assistant. Describe the video by detailing the following aspects:",
        "1. The main content and theme of the video.",
        "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects.",
        "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects.",
        "4. background environment, light, style and atmosphere.",
        "5. camera angles, movements, and transitions used in the video.",
    )
)
_HEAD = f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n"
_TAIL = "<|im_end|>\n<|im_start|>assistant\n"
LIMIT = CaptionLimit(tokens=_CAPTION_TOKENS, head=_HEAD)
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
        self._qwen = without_last_layers(qwen, _SKIPPED_LAYERS)
        self._qwen_tokenizer = qwen_tokenizer
        self._byt5 = byt5
        self._byt5_tokenizer = ByT5Tokenizer()
        # 108 rows with the released tokenizer.
        self._head_rows = len(self._ids(_HEAD))

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        glyphs = {caption: glyph_text(caption) for caption in captions}
        caption_rows = self._caption_rows(set(captions))
        glyph_rows = {text: self._glyph_rows(text) for text in set(glyphs.values())}
        encoded = []
        for caption in captions:
            tensors = {"vl_embed": caption_rows[caption], "byt5_embed": glyph_rows[glyphs[caption]]}
            encoded.append(EncodedText(tensors, variable_length=frozenset(tensors)))
        return encoded

    def _caption_rows(self, captions: set[str]) -> dict[str, Tensor]:
        limit = self._head_rows + _CAPTION_TOKENS
        token_ids = {caption: self._ids(_HEAD + (caption or " ") + _TAIL)[:limit] for caption in captions}
        return decoder_rows(self._qwen, token_ids, skip=self._head_rows)

    def _glyph_rows(self, text: str) -> Tensor:
        weight = self._byt5.shared.weight
        if not text:
            return torch.zeros(0, weight.shape[1], dtype=weight.dtype)
        tokens = self._byt5_tokenizer(text, max_length=_GLYPH_TOKENS, truncation=True, add_special_tokens=True)
        ids_1L = torch.tensor([tokens["input_ids"]], device=weight.device)
        return self._byt5(input_ids=ids_1L).last_hidden_state[0].cpu()  # type: ignore[no-any-return]

    def _ids(self, text: str) -> list[int]:
        return list(self._qwen_tokenizer(text)["input_ids"])
