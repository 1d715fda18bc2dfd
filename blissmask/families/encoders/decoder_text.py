"""Captions as the states of a language model, a row for each token: what most families show their denoisers.

B captions, L rows, T taps, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from blissmask.families.encoders.captions import TextReading
from blissmask.families.encoders.taps import cut_after, tapped_rows, tapped_states
from blissmask.families.encoders.text_batches import batches_by_length
from blissmask.families.protocol import EncodedText


class DecoderTextEncoder:
    """Encodes captions into the content of a reading.

    Args:
        model: a decoder on its device, or a model whose ``language_model`` is one. Layers after the last tap are
            removed.
        tokenizer: its tokenizer, which also says on which side it pads.
        reading: the wording, and what is kept of the states.
        identity: names weights, tokenizer and wording.
    """

    def __init__(self, model: Any, tokenizer: Any, *, reading: TextReading, identity: str) -> None:
        decoder = getattr(model, "language_model", model)
        places = len(decoder.layers) + 1
        self.identity = identity
        self._reading = reading
        self._taps = [tap % places for tap in reading.taps]
        self._decoder = cut_after(decoder, self._taps[-1])
        self._tokenizer = tokenizer
        self._head_rows = 0 if reading.keeps_head else reading.captions.head_tokens(tokenizer)

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        rows = self.rows(captions)
        content = self._reading.content
        variable_length = frozenset[str]() if self._reading.padded else frozenset({content})
        return [EncodedText({content: rows[caption]}, variable_length=variable_length) for caption in captions]

    def rows(self, captions: Iterable[str]) -> dict[str, Tensor]:
        """Return caption -> its rows, (L, T * D) or (L, T, D), on the CPU."""
        token_ids = self._reading.captions.token_ids(self._tokenizer, captions)
        states = self._padded(token_ids) if self._reading.padded else tapped_rows(self._decoder, token_ids, self._taps)
        kept = {caption: states_LTD[self._head_rows :] for caption, states_LTD in states.items()}
        return {caption: (rows.flatten(1) if self._reading.joined else rows).clone() for caption, rows in kept.items()}

    def _padded(self, token_ids: dict[str, list[int]]) -> dict[str, Tensor]:
        device = self._decoder.embed_tokens.weight.device
        length = self._reading.captions.tokens
        states: dict[str, Tensor] = {}
        for batch in batches_by_length(dict.fromkeys(token_ids, length)):
            ids = {"input_ids": [token_ids[caption] for caption in batch]}
            padded = self._tokenizer.pad(ids, padding="max_length", max_length=length, return_tensors="pt").to(device)
            tapped_BLTD = tapped_states(self._decoder, padded["input_ids"], padded["attention_mask"], self._taps)
            states.update(zip(batch, tapped_BLTD.cpu(), strict=True))
        return states
