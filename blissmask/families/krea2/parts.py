"""The parts of Krea 2, the size of its denoiser from the shapes of tensors, and the wording around captions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.encoders import qwen3_vl, qwen_vl
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.krea2 import tiny
from blissmask.families.krea2.names import rename_denoiser
from blissmask.families.qwen.templates import GENERATE, TAIL

TAPS = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35)
"""The states of the text encoder that are kept of each row. Source: diffusers' Krea2Pipeline."""
MOST_ROWS = 512
"""Rows of a caption and of the tail of the template. Source: the same."""
TEMPLATE = (GENERATE.head, TAIL, f"{MOST_ROWS} rows", f"taps {TAPS}")


def denoiser_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Krea2Transformer2DModel`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind="Krea 2 denoiser")
    width, in_channels = shape("img_in.weight")
    block, text_block = "transformer_blocks.0", "text_fusion.layerwise_blocks.0"
    head, text_head = shape(f"{block}.attn.norm_q.weight")[0], shape(f"{text_block}.attn.norm_q.weight")[0]
    text_width = shape("txt_in.linear_1.weight")[1]
    return {
        "in_channels": in_channels,
        "num_layers": count_of(tensors, "transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "num_key_value_heads": shape(f"{block}.attn.to_k.weight")[0] // head,
        "intermediate_size": shape(f"{block}.ff.up.weight")[0],
        "timestep_embed_dim": shape("time_embed.linear_1.weight")[1],
        "text_hidden_dim": text_width,
        "num_text_layers": shape("text_fusion.projector.weight")[1],
        "text_num_attention_heads": text_width // text_head,
        "text_num_key_value_heads": shape(f"{text_block}.attn.to_k.weight")[0] // text_head,
        "text_intermediate_size": shape(f"{text_block}.ff.up.weight")[0],
        "num_layerwise_text_blocks": count_of(tensors, "text_fusion.layerwise_blocks."),
        "num_refiner_text_blocks": count_of(tensors, "text_fusion.refiner_blocks."),
        # 32, 48 and 48 of 128: a quarter for the picture's number, the rest for rows and columns.
        "axes_dims_rope": (head // 4, head * 3 // 8, head * 3 // 8),
    }


TEXT_ENCODER = Part(
    folder="text_encoder",
    field="text_encoder",
    class_path="transformers.Qwen3VLModel",
    rename=qwen_vl.in_transformers_names,
    config_of=qwen3_vl.config_of,
    ignore=(qwen_vl.HEAD, qwen_vl.VISION),
    trim=qwen_vl.drop_vision,
    tiny=tiny.text_encoder,
    tiny_name="krea2",
)
TOKENIZER = Tokenizer(encoder=TEXT_ENCODER, specials=("<|im_start|>", "<|im_end|>"))
DENOISER = Part(
    folder="transformer",
    field="dit",
    class_path="diffusers.Krea2Transformer2DModel",
    rename=rename_denoiser,
    config_of=denoiser_config,
    tiny=tiny.denoiser,
    tiny_name="krea2",
)
