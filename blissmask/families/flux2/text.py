"""Encode captions for FLUX.2: three states of a language model side by side, in 512 rows with padding.

B captions, L = 512 rows, D width of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from blissmask.families.encoders.taps import cut_after, tapped_states
from blissmask.families.encoders.text_batches import batches_by_length
from blissmask.families.flux2.templates import ROWS, TextReading
from blissmask.families.protocol import EncodedText


class Flux2TextEncoder:
    """Encodes into ``ctx_vec`` (512, D). The denoiser attends to the rows of padding, so they are part of it.

    Args:
        model: ``Qwen3Model``, or ``Mistral3Model``, of which the language half is run. Layers after the last tap are
            removed.
        tokenizer: its tokenizer, which also says on which side it pads.
        reading: the wording around captions, and the taps.
        identity: names weights, tokenizer and wording.
    """

    def __init__(self, model: Any, tokenizer: Any, reading: TextReading, *, identity: str) -> None:
        self.identity = identity
        self._taps = reading.taps
        self._decoder = cut_after(getattr(model, "language_model", model), self._taps[-1])
        self._tokenizer = tokenizer
        self._captions = reading.captions

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        rows: dict[str, Tensor] = {}
        for batch in batches_by_length(dict.fromkeys(captions, ROWS)):
            rows.update(zip(batch, self._rows(batch), strict=True))
        return [EncodedText({"ctx_vec": rows[caption]}) for caption in captions]

    def _rows(self, captions: Sequence[str]) -> list[Tensor]:
        tokens = self._tokenizer(
            [self._captions.around(caption) for caption in captions],
            add_special_tokens=self._captions.marks,
            padding="max_length",
            truncation=True,
            max_length=ROWS,
            return_tensors="pt",
        )
        device = self._decoder.embed_tokens.weight.device
        ids_BL, mask_BL = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        states_BLTD = tapped_states(self._decoder, ids_BL, mask_BL, self._taps)
        return [states_LTD.flatten(1).clone() for states_LTD in states_BLTD.cpu()]
