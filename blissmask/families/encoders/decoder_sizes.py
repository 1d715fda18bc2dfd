"""Sizes of decoders, read from the shapes of their tensors; Llama, Mistral and the Qwen models name them alike."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of


def decoder_sizes(tensors: Tensors, path: Path, *, kind: str, head_dim: int, prefix: str = "") -> dict[str, Any]:
    """Return the sizes of a decoder, under the names of transformers' configurations.

    Args:
        tensors: in transformers' names.
        path: the file they are from.
        kind: of the model, for messages.
        head_dim: width of an attention head.
        prefix: what stands before the names of the decoder's tensors.

    Raises:
        ModelError: a tensor is missing, so the file is no ``kind``.
    """
    shape = partial(shape_of, tensors, source=path, kind=kind)
    vocabulary, width = shape(f"{prefix}embed_tokens.weight")
    layer = f"{prefix}layers.0."
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shape(f"{layer}mlp.gate_proj.weight")[0],
        "num_hidden_layers": count_of(tensors, f"{prefix}layers."),
        "num_attention_heads": shape(f"{layer}self_attn.q_proj.weight")[0] // head_dim,
        "num_key_value_heads": shape(f"{layer}self_attn.k_proj.weight")[0] // head_dim,
    }
