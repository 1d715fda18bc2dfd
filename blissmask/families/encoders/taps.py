"""Read the states between the layers of a decoder, as families do whose text comes from several depths of one encoder.

B captions, L rows, T taps, D width. A tap is a place in transformers' ``hidden_states``: 0 is the token embedding, k
the state after k layers, before the final norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.families.encoders.text_batches import batches_by_length, padded_ids


def cut_after(decoder: Any, last_tap: int) -> Any:
    """Remove the layers after ``last_tap`` and the final norm of a decoder, for less memory and time, and return it.

    Its last state is then ``hidden_states[last_tap]`` of the whole decoder.
    """
    decoder.layers = decoder.layers[:last_tap]
    decoder.config.num_hidden_layers = len(decoder.layers)
    decoder.norm = nn.Identity()
    return decoder


def tapped_states(decoder: Any, ids_BL: Tensor, mask_BL: Tensor, taps: Sequence[int]) -> Tensor:
    """Return the states (B, L, T, D) at ``taps``; no tap may be the last state of a decoder with its final norm."""
    states = decoder(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False, output_hidden_states=True).hidden_states
    return torch.stack([states[tap] for tap in taps], dim=2)


def tapped_rows(decoder: Any, token_ids: Mapping[str, Sequence[int]], taps: Sequence[int]) -> dict[str, Tensor]:
    """Return the states of every caption, (L, T, D) on the CPU, each of its own length.

    Args:
        decoder: a causal decoder, so that padding on the right changes nothing before it.
        token_ids: caption -> its tokens.
        taps: as for :func:`tapped_states`.
    """
    device = decoder.embed_tokens.weight.device
    rows: dict[str, Tensor] = {}
    for batch in batches_by_length({caption: len(ids) for caption, ids in token_ids.items()}):
        ids_BL, mask_BL = padded_ids([token_ids[caption] for caption in batch], device)
        states_BLTD = tapped_states(decoder, ids_BL, mask_BL, taps).cpu()
        rows.update({caption: states_BLTD[row, : len(token_ids[caption])] for row, caption in enumerate(batch)})
    return rows
