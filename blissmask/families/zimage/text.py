"""Encode captions for Z-Image: Qwen3 in its chat template.

Sources: the Z-Image repository and diffusers' ZImagePipeline. L: rows of one caption; D: width, 2560.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from blissmask.families.encoders.taps import cut_after, tapped_rows
from blissmask.families.protocol import EncodedText
from blissmask.families.zimage.parts import CAPTIONS


class ZImageTextEncoder:
    """Encodes into the content ``llm_embed``: (L, D), the rows of the caption and of the template around it.

    Args:
        model: ``Qwen3Model`` on its device; its last layer, which is not read, is removed.
        tokenizer: its tokenizer.
        identity: names weights, tokenizer and template.
    """

    def __init__(self, model: Any, tokenizer: Any, *, identity: str) -> None:
        self.identity = identity
        self._tap = len(model.layers) - 1
        self._model = cut_after(model, self._tap)
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions; see :class:`blissmask.families.protocol.TextEncoder`. ``images`` are not looked at."""
        token_ids = CAPTIONS.token_ids(self._tokenizer, captions)
        rows = tapped_rows(self._model, token_ids, (self._tap,))
        return [
            EncodedText({"llm_embed": rows[caption][:, 0].clone()}, variable_length=frozenset({"llm_embed"}))
            for caption in captions
        ]
