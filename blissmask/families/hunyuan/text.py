"""Encode captions for HunyuanVideo: Llama 3 in a template, and one CLIP-L vector for the whole caption.

Sources: the HunyuanVideo repository and diffusers' HunyuanVideoPipeline. L: 256 rows; D: width of Llama, 4096.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blissmask.families.encoders.taps import cut_after
from blissmask.families.encoders.text_batches import batches_by_length, decoder_rows
from blissmask.families.hunyuan.parts import CAPTIONS
from blissmask.families.protocol import EncodedText

_CLIP_TOKENS = 77
"""All that CLIP-L has positions for."""
_SKIPPED_LAYERS = 2
"""Llama's last layers, which the denoiser was trained without."""


class HunyuanTextEncoder:
    """Encodes into ``llm`` (256, D), ``llm_mask`` (256,) and ``clipL`` (768,), of fixed length as musubi-tuner's.

    Rows past a caption's end are zero; the mask keeps the denoiser from looking at them.

    Args:
        llama: ``LlamaModel``; its last two layers are removed.
        llama_tokenizer: its tokenizer.
        clip: ``CLIPTextModel``.
        clip_tokenizer: its tokenizer.
        identity: names weights and tokenizers by content.
    """

    def __init__(self, llama: Any, llama_tokenizer: Any, clip: Any, clip_tokenizer: Any, *, identity: str) -> None:
        self.identity = identity
        self._llama = cut_after(llama, len(llama.layers) - _SKIPPED_LAYERS)
        self._llama_tokenizer = llama_tokenizer
        self._clip = clip
        self._clip_tokenizer = clip_tokenizer
        # 95 with the released tokenizer.
        self._head_rows = CAPTIONS.head_tokens(llama_tokenizer)

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        token_ids = CAPTIONS.token_ids(self._llama_tokenizer, captions)
        encoded: dict[str, EncodedText] = {}
        for batch in batches_by_length({caption: len(ids) for caption, ids in token_ids.items()}):
            rows = decoder_rows(self._llama, {caption: token_ids[caption] for caption in batch}, skip=self._head_rows)
            for caption, vector in zip(batch, self._vectors(batch), strict=True):
                mask = (torch.arange(CAPTIONS.tokens) < len(rows[caption])).to(torch.int64)
                padded = F.pad(rows[caption], (0, 0, 0, CAPTIONS.tokens - len(rows[caption])))
                encoded[caption] = EncodedText({"llm": padded, "llm_mask": mask, "clipL": vector})
        return [encoded[caption] for caption in captions]

    def _vectors(self, captions: Sequence[str]) -> list[Tensor]:
        tokens = self._clip_tokenizer(
            list(captions), padding="max_length", max_length=_CLIP_TOKENS, truncation=True, return_tensors="pt"
        )
        vectors_BD = self._clip(tokens["input_ids"].to(next(self._clip.parameters()).device)).pooler_output.cpu()
        return [vector.clone() for vector in vectors_BD]
