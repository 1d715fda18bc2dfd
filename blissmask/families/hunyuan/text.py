"""Encode captions for HunyuanVideo: Llama 3 in a template, and one CLIP-L vector for the whole caption.

Sources: the HunyuanVideo repository and diffusers' HunyuanVideoPipeline. L: 256 rows; D: width of Llama, 4096.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blissmask.families.encoders.caption_limit import CaptionLimit
from blissmask.families.encoders.llama import without_last_layers
from blissmask.families.encoders.text_batches import batches_by_length, decoder_rows
from blissmask.families.protocol import EncodedText

_ROWS = 256
_CLIP_TOKENS = 77
_SKIPPED_LAYERS = 2
# The wording is the model's training data: a changed letter changes every embedding.
_HEAD = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n"
)
_TAIL = "<|eot_id|>"
LIMIT = CaptionLimit(tokens=_ROWS, head=_HEAD)
"""Of Llama, whose rows the denoiser reads. CLIP makes one vector of the first 77 tokens, which names the subject."""


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
        self._llama = without_last_layers(llama, _SKIPPED_LAYERS)
        self._llama_tokenizer = llama_tokenizer
        self._clip = clip
        self._clip_tokenizer = clip_tokenizer
        # 95 rows with the released tokenizer.
        self._head_rows = len(self._ids(_HEAD))

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions, equal ones once; see :class:`blissmask.families.protocol.TextEncoder`.

        ``images`` are not looked at.
        """
        token_ids = {caption: self._ids(_HEAD + caption + _TAIL)[: self._head_rows + _ROWS] for caption in captions}
        encoded: dict[str, EncodedText] = {}
        for batch in batches_by_length({caption: len(ids) for caption, ids in token_ids.items()}):
            rows = decoder_rows(self._llama, {caption: token_ids[caption] for caption in batch}, skip=self._head_rows)
            for caption, vector in zip(batch, self._vectors(batch), strict=True):
                mask = (torch.arange(_ROWS) < len(rows[caption])).to(torch.int64)
                padded = F.pad(rows[caption], (0, 0, 0, _ROWS - len(rows[caption])))
                encoded[caption] = EncodedText({"llm": padded, "llm_mask": mask, "clipL": vector})
        return [encoded[caption] for caption in captions]

    def _vectors(self, captions: Sequence[str]) -> list[Tensor]:
        tokens = self._clip_tokenizer(
            list(captions), padding="max_length", max_length=_CLIP_TOKENS, truncation=True, return_tensors="pt"
        )
        vectors_BD = self._clip(tokens["input_ids"].to(next(self._clip.parameters()).device)).pooler_output.cpu()
        return [vector.clone() for vector in vectors_BD]

    def _ids(self, text: str) -> list[int]:
        return list(self._llama_tokenizer(text)["input_ids"])
