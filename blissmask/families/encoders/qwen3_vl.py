"""Qwen3-VL's language half as a text encoder: sizes from shapes, and a miniature; its names are Qwen2.5-VL's.

For text its three rotary axes move together, so that it computes what Qwen3 does, with another base of the positions.
Sources: the configuration of Qwen3-VL-4B-Instruct, transformers' ``Qwen3VLModel``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.encoders import qwen3, qwen_vl
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors

TINY_WIDTH = 128
# What no tensor's shape tells.
_CONSTANTS = {
    "max_position_embeddings": 262_144,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5_000_000.0,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Qwen3VLConfig`` that fit ``tensors``; the vision tower is empty."""
    text = qwen3.config_of(qwen_vl.in_language_names(tensors), path)
    return _config({**text, **_CONSTANTS}, {"depth": 0, "deepstack_visual_indexes": []})


def _config(text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    return {"text_config": text, "vision_config": {**vision, "out_hidden_size": text["hidden_size"]}}


def tiny(layers: int) -> Any:
    """Return a ``Qwen3VLModel`` for the tokenizer of bytes, with one small layer of vision."""
    from transformers import Qwen3VLConfig, Qwen3VLModel

    sizes = {"vocab_size": 320, "hidden_size": TINY_WIDTH, "intermediate_size": 64, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 128}
    vision = {"depth": 1, "hidden_size": 64, "intermediate_size": 64, "num_heads": 1, "deepstack_visual_indexes": [0]}
    return Qwen3VLModel(Qwen3VLConfig(**_config({**sizes, **heads, "rms_norm_eps": 1e-6, **_CONSTANTS}, vision)))


def text_encoder(tiny_name: str, *, layers: int) -> Part:
    """Return the language half of Qwen3-VL as a part.

    Args:
        tiny_name: of its miniature.
        layers: of its miniature.
    """
    return Part(
        folder="text_encoder",
        field="text_encoder",
        class_path="transformers.Qwen3VLModel",
        rename=qwen_vl.in_transformers_names,
        config_of=config_of,
        ignore=(qwen_vl.HEAD, qwen_vl.VISION),
        trim=qwen_vl.drop_vision,
        tiny=partial(tiny, layers),
        tiny_name=tiny_name,
    )
