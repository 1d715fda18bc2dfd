"""Qwen2.5-VL without its output head: its names, and its sizes from shapes; whole, or its language half alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.encoders.decoder_sizes import decoder_sizes
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of

HEAD = "lm_head."
VISION = "visual."
_LANGUAGE = "language_model."
_KIND = "Qwen2.5-VL text encoder"
# Widths of a head that no tensor's shape tells, the same in every released size.
_TEXT_HEAD_DIM = 128
_VISION_HEAD_DIM = 80
TINY_WIDTH = 128
# Every eighth block of the vision tower looks at the whole picture, the others at windows.
_FULL_ATTENTION_EVERY = 8


def drop_vision(model: Any) -> None:
    """Remove the vision tower; text goes through ``model.language_model``."""
    model.visual = None


def in_transformers_names(tensors: Tensors) -> Tensors:
    """Return the tensors under the names of ``Qwen2_5_VLModel``: ``visual.*`` and ``language_model.*``.

    Reads ComfyUI's ``qwen_2.5_vl_7b``, fp8_scaled included, and transformers' names old and new; those of Qwen3-VL are
    the same.
    """
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix("model.")
        known = inner.startswith((VISION, _LANGUAGE, HEAD))
        renamed[inner if known else f"{_LANGUAGE}{inner}"] = tensor
    return renamed


def in_language_names(tensors: Tensors) -> Tensors:
    """Return the tensors under the names of ``Qwen2_5_VLTextModel``, the language half; reads the same files."""
    named = in_transformers_names(tensors)
    return {name.removeprefix(_LANGUAGE): tensor for name, tensor in named.items()}


def language_config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Qwen2_5_VLTextConfig`` that fit ``tensors`` (names of the language half)."""
    return {**_text_constants(), **_text_sizes(tensors, path, "")}


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Qwen2_5_VLConfig`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    text = _text_sizes(tensors, path, _LANGUAGE)
    width = text["hidden_size"]
    if "visual.patch_embed.proj.weight" not in tensors:
        return vl_config(text, {"depth": 0, "out_hidden_size": width})
    vision_width = shape("visual.patch_embed.proj.weight")[0]
    vision = {
        "hidden_size": vision_width,
        "out_hidden_size": width,
        "intermediate_size": shape("visual.blocks.0.mlp.gate_proj.weight")[0],
        "depth": count_of(tensors, "visual.blocks."),
        "num_heads": vision_width // _VISION_HEAD_DIM,
    }
    return vl_config(text, vision)


def vl_config(text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``Qwen2_5_VLConfig`` with what all released sizes share."""
    full = [block for block in range(vision["depth"]) if block % _FULL_ATTENTION_EVERY == _FULL_ATTENTION_EVERY - 1]
    return {
        "text_config": {**_text_constants(), **text},
        "vision_config": {**vision, "fullatt_block_indexes": full, "window_size": 112},
    }


def _text_sizes(tensors: Tensors, path: Path, prefix: str) -> dict[str, Any]:
    return decoder_sizes(tensors, path, kind=_KIND, head_dim=_TEXT_HEAD_DIM, prefix=prefix)


def _text_constants() -> dict[str, Any]:
    return {
        # 1e-6 in the released models; the class's own default of 1e-5 gives other embeddings without an error.
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 128_000,
        "bos_token_id": None,
        "eos_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
    }


def tiny() -> Any:
    """Return a ``Qwen2_5_VLModel`` of two language and two vision layers for the tokenizer of bytes."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    text = {"vocab_size": 320, "hidden_size": TINY_WIDTH, "intermediate_size": 64, "num_hidden_layers": 4, **heads}
    vision = {"hidden_size": 80, "out_hidden_size": TINY_WIDTH, "intermediate_size": 64, "depth": 2, "num_heads": 1}
    return Qwen2_5_VLModel(Qwen2_5_VLConfig(**vl_config(text, vision)))


def _tiny_language() -> Any:
    return tiny().language_model


def language_half(tiny_name: str) -> Part:
    """Return the language half of Qwen2.5-VL as a part; ``tiny_name`` is its miniature's."""
    return Part(
        folder="text_encoder",
        field="text_encoder",
        class_path="transformers.Qwen2_5_VLTextModel",
        rename=in_language_names,
        config_of=language_config_of,
        ignore=(HEAD, VISION),
        tiny=_tiny_language,
        tiny_name=tiny_name,
    )
