"""Encode captions for Krea 2: twelve states of Qwen3-VL for each row, in Qwen-Image's chat template.

Source: diffusers' Krea2Pipeline. L: rows kept of one caption; T: 12 taps; D: width, 2560.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from blissmask.families.encoders.taps import cut_after, tapped_rows
from blissmask.families.krea2.parts import CAPTIONS, TAPS
from blissmask.families.protocol import EncodedText


class Krea2TextEncoder:
    """Encodes into ``krea2_vl_embed`` (L, T, D), the rows after the template's head.

    Args:
        model: ``Qwen3VLModel`` on its device, without its vision tower; the layers after the last tap are removed.
        tokenizer: its tokenizer.
        identity: names weights, tokenizer and template.
    """

    def __init__(self, model: Any, tokenizer: Any, *, identity: str) -> None:
        self.identity = identity
        self._decoder = cut_after(model.language_model, TAPS[-1])
        self._tokenizer = tokenizer
        # 34 with the released tokenizer.
        self._head_rows = CAPTIONS.head_tokens(tokenizer)

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        token_ids = CAPTIONS.token_ids(self._tokenizer, captions)
        rows = tapped_rows(self._decoder, token_ids, TAPS)
        return [self._encoded(rows[caption]) for caption in captions]

    def _encoded(self, rows_LTD: Tensor) -> EncodedText:
        kept = rows_LTD[self._head_rows :].clone()
        return EncodedText({"krea2_vl_embed": kept}, variable_length=frozenset({"krea2_vl_embed"}))
