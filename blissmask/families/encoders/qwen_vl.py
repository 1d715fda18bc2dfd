"""Load Qwen2.5-VL without its output head: the text encoder of Qwen-Image, its Edit models and HunyuanVideo 1.5."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import open_checkpoint

# Widths of a head that no tensor's shape tells, the same in every released size.
TEXT_HEAD_DIM = 128
VISION_HEAD_DIM = 80
_KIND = "Qwen2.5-VL text encoder"
# Every eighth block of the vision tower looks at the whole picture, the others at windows.
_FULL_ATTENTION_EVERY = 8


def load_qwen_vl(path: Path, *, device: torch.device, dtype: torch.dtype, vision: bool = True) -> nn.Module:
    """Load ``Qwen2_5_VLModel`` from a single file: ComfyUI's ``qwen_2.5_vl_7b``, fp8_scaled included, or transformers' names old and new.

    Args:
        path: the file.
        device: where the weights go.
        dtype: what they become.
        vision: whether to load the vision tower, which only the Edit models look through.

    Raises:
        ModelError: the file is damaged, no Qwen2.5-VL, or lacks keys.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    tensors = in_transformers_names(open_checkpoint(path))
    config = Qwen2_5_VLConfig(**config_of(tensors, path))
    model = build_empty(lambda: Qwen2_5_VLModel(config))
    if not vision:
        drop_vision(model)
    return load_weights(
        model, tensors, source=path, device=device, dtype=dtype, ignore=("lm_head.", *(() if vision else ("visual.",)))
    )


def load_language_model(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load the language half alone; file and errors as for :func:`load_qwen_vl`."""
    module = load_qwen_vl(path, device=device, dtype=dtype, vision=False).language_model
    assert isinstance(module, nn.Module)
    return module


def drop_vision(model: Any) -> Any:
    """Remove the vision tower; text goes through ``model.language_model``."""
    model.visual = None
    return model


def in_transformers_names(tensors: Tensors) -> Tensors:
    """Return the tensors under the names of ``Qwen2_5_VLModel``: ``visual.*`` and ``language_model.*``."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix("model.")
        known = inner.startswith(("visual.", "language_model.", "lm_head."))
        renamed[inner if known else f"language_model.{inner}"] = tensor
    return renamed


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Qwen2_5_VLConfig`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    vocabulary, width = shape("language_model.embed_tokens.weight")
    layer = "language_model.layers.0."
    text = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shape(f"{layer}mlp.gate_proj.weight")[0],
        "num_hidden_layers": count_of(tensors, "language_model.layers."),
        "num_attention_heads": shape(f"{layer}self_attn.q_proj.weight")[0] // TEXT_HEAD_DIM,
        "num_key_value_heads": shape(f"{layer}self_attn.k_proj.weight")[0] // TEXT_HEAD_DIM,
    }
    if "visual.patch_embed.proj.weight" not in tensors:
        return vl_config(text, {"depth": 0, "out_hidden_size": width})
    vision_width = shape("visual.patch_embed.proj.weight")[0]
    vision = {
        "hidden_size": vision_width,
        "out_hidden_size": width,
        "intermediate_size": shape("visual.blocks.0.mlp.gate_proj.weight")[0],
        "depth": count_of(tensors, "visual.blocks."),
        "num_heads": vision_width // VISION_HEAD_DIM,
    }
    return vl_config(text, vision)


def vl_config(text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``Qwen2_5_VLConfig`` with what all released sizes share.

    ``rms_norm_eps`` is 1e-6 in the released models; the class's own default of 1e-5 gives other embeddings without a
    word.
    """
    rope = {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]}
    fixed = {
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 128_000,
        "bos_token_id": None,
        "eos_token_id": None,
        "rope_parameters": rope,
    }
    full = [block for block in range(vision["depth"]) if block % _FULL_ATTENTION_EVERY == _FULL_ATTENTION_EVERY - 1]
    return {
        "text_config": {**fixed, **text},
        "vision_config": {**vision, "fullatt_block_indexes": full, "window_size": 112},
    }
