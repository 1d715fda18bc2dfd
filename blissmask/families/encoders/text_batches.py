"""Batch captions by length, so that little of a batch is padding, and run decoders on them.

B captions, L tokens or rows, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Enough to fill a GPU; on a CPU the batch size hardly matters. 4096 tokens are 8 captions of 512 or 40 of 100.
_MAX_BATCH_TOKENS = 4096


def batches_by_length(lengths: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield the keys of ``lengths`` in batches of like length, shortest first, of at most 4096 tokens with padding."""
    batch: list[str] = []
    for key in sorted(lengths, key=lambda key: (lengths[key], key)):
        if batch and (len(batch) + 1) * lengths[key] > _MAX_BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def padded_ids(
    token_ids: Sequence[Sequence[int]], device: torch.device, *, pad_id: int = 0, length: int = 0
) -> tuple[Tensor, Tensor]:
    """Return token ids and their attention mask, both (B, L), padded on the right.

    Args:
        token_ids: of each caption.
        device: of the result.
        pad_id: token of the padding; it matters only where the states of padding are read.
        length: L at least; the longest caption's where that is longer.
    """
    ids_BL = torch.full((len(token_ids), max(length, *map(len, token_ids))), pad_id, dtype=torch.long)
    mask_BL = torch.zeros_like(ids_BL)
    for row, ids in enumerate(token_ids):
        ids_BL[row, : len(ids)] = torch.tensor(list(ids))
        mask_BL[row, : len(ids)] = 1
    return ids_BL.to(device), mask_BL.to(device)


def decoder_rows(decoder: Any, token_ids: Mapping[str, Sequence[int]], *, skip: int) -> dict[str, Tensor]:
    """Return the last states of a decoder for each caption, on the CPU: caption -> (L, D).

    Args:
        decoder: a language model without its output head, e.g. ``LlamaModel``.
        token_ids: caption -> its tokens, the template around it included.
        skip: how many rows of the template's head are left out.
    """
    device = decoder.embed_tokens.weight.device
    rows: dict[str, Tensor] = {}
    for batch in batches_by_length({caption: len(ids) for caption, ids in token_ids.items()}):
        ids_BL, mask_BL = padded_ids([token_ids[caption] for caption in batch], device)
        states_BLD = decoder(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        for row, caption in enumerate(batch):
            rows[caption] = states_BLD[row, skip : len(token_ids[caption])].cpu().clone()
    return rows
