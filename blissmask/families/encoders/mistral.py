"""Mistral Small 3.1 as a text encoder: names, sizes from shapes, and a miniature; its vision half is not run.

Source of what no shape tells: the configuration of Mistral-Small-3.1-24B-Instruct-2503.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.encoders.decoder_sizes import decoder_sizes
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors

_LANGUAGE = "language_model."
_VISION = ("vision_tower.", "multi_modal_projector.")
_UNUSED = ("lm_head.", "tekken_model", *_VISION)
"""The head, the tokenizer inside ComfyUI's files, and the vision half."""
_HEAD_DIM = 128
TINY_WIDTH = 128
CONSTANTS = {
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131_072,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000_000.0},
    "sliding_window": None,
}


def _drop_vision(model: Any) -> None:
    """Remove the vision half; text goes through ``model.language_model``."""
    model.vision_tower = None
    model.multi_modal_projector = None


def in_transformers_names(tensors: Tensors) -> Tensors:
    """Return the tensors under the names of ``Mistral3Model``.

    Reads ComfyUI's ``mistral_3_small_flux2``, which ends after 30 layers, and transformers' names old and new.
    """
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix("model.").removeprefix(_LANGUAGE).removeprefix("model.")
        renamed[inner if inner.startswith(_UNUSED) else f"{_LANGUAGE}{inner}"] = tensor
    return renamed


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Mistral3Config`` that fit ``tensors``."""
    text = decoder_sizes(tensors, path, kind="Mistral text encoder", head_dim=_HEAD_DIM, prefix=_LANGUAGE)
    return {"text_config": {"model_type": "mistral", **text, "head_dim": _HEAD_DIM, **CONSTANTS}}


def _tiny(layers: int) -> Any:
    """Return a ``Mistral3Model`` of a few narrow layers for the tokenizer of bytes, with one small layer of vision."""
    from transformers import Mistral3Config, Mistral3Model

    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": _HEAD_DIM}
    sizes = {"vocab_size": 320, "hidden_size": TINY_WIDTH, "intermediate_size": 64, "num_hidden_layers": layers}
    vision = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    return Mistral3Model(
        Mistral3Config(
            text_config={"model_type": "mistral", **sizes, **heads, **CONSTANTS},
            vision_config={"model_type": "pixtral", "image_size": 28, **vision},
        )
    )


def text_encoder(tiny_name: str, *, layers: int) -> Part:
    """Return Mistral as a part, without its vision half.

    Args:
        tiny_name: of its miniature.
        layers: of its miniature.
    """
    return Part(
        folder="text_encoder",
        field="text_encoder",
        class_path="transformers.Mistral3Model",
        rename=in_transformers_names,
        config_of=config_of,
        ignore=_UNUSED,
        trim=_drop_vision,
        tiny=partial(_tiny, layers),
        tiny_name=tiny_name,
    )
