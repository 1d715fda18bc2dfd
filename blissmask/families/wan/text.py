"""Encode captions for Wan: UMT5-XXL behind cleaning rules.

Source of the rules: the Wan repositories and diffusers' WanPipeline. ftfy, HTML entities decoded twice, white space
collapsed; at most 512 tokens including the end mark. L: tokens of one caption; D: width of the encoder, 4096.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.families.encoders.captions import CaptionTemplate
from blissmask.families.encoders.text_batches import batches_by_length, padded_ids
from blissmask.families.protocol import EncodedText

MAX_TOKENS = 512


def clean_caption(caption: str) -> str:
    """Return ``caption`` as Wan was trained on it: mojibake mended, entities decoded twice, white space collapsed."""
    import ftfy

    mended = html.unescape(html.unescape(ftfy.fix_text(caption)))
    return re.sub(r"\s+", " ", mended).strip()


CAPTIONS = CaptionTemplate(tokens=MAX_TOKENS - 1, clean=clean_caption)
"""Of what is read, the last token is the end mark."""


class Umt5TextEncoder:
    """Encodes captions into the content ``t5``: (L, D) with no padding rows, L at most 512.

    Args:
        model: ``UMT5EncoderModel`` on its device.
        tokenizer: its tokenizer.
        identity: names weights and tokenizer by content.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, identity: str) -> None:
        self.identity = identity
        self._model = model
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        cleaned = [clean_caption(caption) for caption in captions]
        token_ids = {text: self._token_ids(text) for text in cleaned}
        rows: dict[str, Tensor] = {}
        for batch in batches_by_length({text: len(ids) for text, ids in token_ids.items()}):
            rows.update(zip(batch, self._rows([token_ids[text] for text in batch]), strict=True))
        return [EncodedText({"t5": rows[text]}, variable_length=frozenset({"t5"})) for text in cleaned]

    def _token_ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, truncation=True, max_length=MAX_TOKENS, add_special_tokens=True)["input_ids"])

    def _rows(self, token_ids: Sequence[list[int]]) -> list[Tensor]:
        device = next(self._model.parameters()).device
        ids_BL, mask_BL = padded_ids(token_ids, device)
        states_BLD = self._model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        return [states_BLD[row, : len(ids)].cpu().clone() for row, ids in enumerate(token_ids)]
