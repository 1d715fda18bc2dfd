"""Encode captions, alone or together with control pictures, as Qwen-Image and its Edit models were trained.

The caption stands in a chat template; the states of the template's head are dropped. L: rows kept of one caption; D:
width, 3584 in the full model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from blissmask.errors import UsageError
from blissmask.families.encoders.text_batches import decoder_rows
from blissmask.families.protocol import EncodedText
from blissmask.families.qwen.templates import CAPTIONS, IMAGE_TOKEN, ChatTemplate
from blissmask.families.qwen.vision import token_count, vision_patches


class QwenTextEncoder:
    """Encodes into the content ``vl_embed``: (L, D), the rows after the template's head.

    Args:
        model: ``Qwen2_5_VLModel`` on its device; its vision tower may be absent when the template shows no pictures.
            A miniature's configuration has the size at which it sees pictures.
        tokenizer: its tokenizer.
        template: what stands around captions.
        identity: names weights, tokenizer and template.
    """

    def __init__(self, model: Any, tokenizer: Any, template: ChatTemplate, *, identity: str) -> None:
        self.identity = identity
        self._model = model
        self._tokenizer = tokenizer
        self._template = template
        self._picture_area = getattr(model.config, "picture_area", template.picture_area)
        # 34 and 64 rows with the released tokenizer; counted, so that other tokenizers are right too.
        self._head_rows = len(self._ids(template.head))
        self._model.config.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions; see :class:`blissmask.families.protocol.TextEncoder`.

        Raises:
            UsageError: the template shows pictures and a caption has none.
        """
        if self._template.picture is None:
            token_ids = CAPTIONS.token_ids(self._tokenizer, captions)
            rows = decoder_rows(self._model.language_model, token_ids, skip=self._head_rows)
            return [_encoded(rows[caption]) for caption in captions]
        if images is None or not all(images):
            raise UsageError(
                "every caption of an edit model needs a control picture", fix="give the data set a `control_directory`"
            )
        return [
            _encoded(self._with_pictures(caption.strip(), shown))
            for caption, shown in zip(captions, images, strict=True)
        ]

    def _with_pictures(self, caption: str, images: Sequence[Tensor]) -> Tensor:
        """Encode one caption with its pictures.

        transformers 5 builds the 3-D positions of picture tokens only when told which tokens they are
        (``mm_token_type_ids``); without, it falls back to positions of plain text in silence, as diffusers 0.42's Edit
        pipelines do.
        """
        patches, grids = zip(*(vision_patches(image, self._picture_area) for image in images), strict=True)
        head, *parts = self._template.around(caption, len(images)).split(IMAGE_TOKEN)
        text = head + "".join(IMAGE_TOKEN * token_count(grid) + part for grid, part in zip(grids, parts, strict=True))
        ids_1L = torch.tensor([self._ids(text)], device=self._device)
        states_1LD = self._model(
            input_ids=ids_1L,
            attention_mask=torch.ones_like(ids_1L),
            pixel_values=torch.cat(patches).to(self._device, self._dtype),
            image_grid_thw=torch.cat(grids).to(self._device),
            mm_token_type_ids=(ids_1L == self._model.config.image_token_id).long(),
        ).last_hidden_state
        return states_1LD[0, self._head_rows :].cpu().clone()  # type: ignore[no-any-return]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])

    @property
    def _device(self) -> torch.device:
        return self._model.language_model.embed_tokens.weight.device  # type: ignore[no-any-return]

    @property
    def _dtype(self) -> torch.dtype:
        return self._model.language_model.embed_tokens.weight.dtype  # type: ignore[no-any-return]


def _encoded(rows_LD: Tensor) -> EncodedText:
    return EncodedText({"vl_embed": rows_LD}, variable_length=frozenset({"vl_embed"}))
