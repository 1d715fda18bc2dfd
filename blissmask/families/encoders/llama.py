"""Llama 3 8B as a text encoder: names, sizes from shapes, and a miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blissmask.families.encoders.decoder_sizes import decoder_sizes
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors

_UNUSED = ("lm_head.", "multi_modal_projector.", "vision_tower.")
"""The head, and the projector and vision tower of LLaVA files: they see pictures, which captions do not hold."""
# Width of a head in Llama 3; no tensor's shape tells it.
_HEAD_DIM = 128
TINY_WIDTH = 128


def in_transformers_names(tensors: Tensors) -> Tensors:
    """Return the tensors of ComfyUI's ``llava_llama3``, or of transformers' files, in the names of ``LlamaModel``."""
    return {name.removeprefix("language_model.").removeprefix("model."): tensor for name, tensor in tensors.items()}


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``LlamaConfig`` that fit ``tensors`` (transformers names)."""
    return {**decoder_sizes(tensors, path, kind="Llama text encoder", head_dim=_HEAD_DIM), **CONSTANTS}


# Of Llama 3; the class's own defaults are Llama 2's.
CONSTANTS = {
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    "max_position_embeddings": 8192,
    "bos_token_id": None,
    "eos_token_id": None,
}


def text_encoder(tiny_name: str) -> Part:
    """Return Llama 3 as a part; ``tiny_name`` is its miniature's."""
    return Part(
        folder="text_encoder",
        field="text_encoder",
        class_path="transformers.LlamaModel",
        rename=in_transformers_names,
        config_of=config_of,
        ignore=_UNUSED,
        tiny=_tiny,
        tiny_name=tiny_name,
    )


def _tiny() -> Any:
    """Return a four-layer ``LlamaModel`` for the tokenizer of bytes."""
    from transformers import LlamaConfig, LlamaModel

    sizes = {"vocab_size": 320, "hidden_size": TINY_WIDTH, "intermediate_size": 64, "num_hidden_layers": 4}
    return LlamaModel(LlamaConfig(**sizes, num_attention_heads=1, num_key_value_heads=1, **CONSTANTS))
