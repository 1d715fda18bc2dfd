"""Qwen3 as a text encoder: names, sizes from shapes, and a miniature.

Sources: the configurations of Qwen3-4B and Qwen3-8B, transformers' ``Qwen3Model``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.encoders.decoder_sizes import decoder_sizes
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, shape_of

_HEAD = "lm_head."
TINY_WIDTH = 128
_KIND = "Qwen3 text encoder"


def in_transformers_names(tensors: Tensors) -> Tensors:
    """Return the tensors under the names of ``Qwen3Model``.

    Reads ComfyUI's ``qwen_3_4b`` and ``qwen_3_8b``, and transformers' files.
    """
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Qwen3Config`` that fit ``tensors`` (transformers names)."""
    # The gain of the queries' norm is as wide as a head.
    head_dim = shape_of(tensors, "layers.0.self_attn.q_norm.weight", source=path, kind=_KIND)[0]
    return {**decoder_sizes(tensors, path, kind=_KIND, head_dim=head_dim), "head_dim": head_dim, **_CONSTANTS}


# What no tensor's shape tells: the same in every released size.
_CONSTANTS = {
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 40_960,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
}


def tiny(layers: int = 4) -> Any:
    """Return a ``Qwen3Model`` of a few layers for the tokenizer of bytes."""
    from transformers import Qwen3Config, Qwen3Model

    sizes = {"vocab_size": 320, "hidden_size": TINY_WIDTH, "intermediate_size": 64, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 128}
    return Qwen3Model(Qwen3Config(**sizes, **heads, **_CONSTANTS))


def text_encoder(tiny_name: str, *, layers: int = 4) -> Part:
    """Return Qwen3 as a part.

    Args:
        tiny_name: of its miniature.
        layers: of its miniature.
    """
    return Part(
        folder="text_encoder",
        field="text_encoder",
        class_path="transformers.Qwen3Model",
        rename=in_transformers_names,
        config_of=config_of,
        ignore=(_HEAD,),
        tiny=partial(tiny, layers),
        tiny_name=tiny_name,
    )
