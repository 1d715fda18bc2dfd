"""Names of HunyuanVideo 1.5's modules in the original repository, in ComfyUI and in diffusers: mostly those of 1.0.

The repository keeps query, key and value of a double block apart. ComfyUI has them in one layer, as both have in 1.0.
The parts have ComfyUI's names here, ``img_attn_qkv:q``, since LoRA files for it must have the layer whole.
"""

from __future__ import annotations

import re

from blissmask.families.files.keymap import KeyMap
from blissmask.families.files.lora_readers import whole_layer
from blissmask.families.files.stored_tensors import Tensors, count_of, scale_before_shift
from blissmask.families.hunyuan import names as hunyuan

DENOISER = KeyMap(
    [
        ("time_in.mlp.0", "time_embed.timestep_embedder.linear_1"),
        ("time_in.mlp.2", "time_embed.timestep_embedder.linear_2"),
        ("byt5_in.layernorm", "context_embedder_2.norm"),
        ("byt5_in.fc1", "context_embedder_2.linear_1"),
        ("byt5_in.fc2", "context_embedder_2.linear_2"),
        ("byt5_in.fc3", "context_embedder_2.linear_3"),
        ("vision_in.proj.0", "image_embedder.norm_in"),
        ("vision_in.proj.1", "image_embedder.linear_1"),
        ("vision_in.proj.3", "image_embedder.linear_2"),
        ("vision_in.proj.4", "image_embedder.norm_out"),
        ("cond_type_embedding", "cond_type_embed"),
        *hunyuan.EMBEDDINGS,
        *hunyuan.refiner(),
        *hunyuan.DOUBLE_BLOCKS,
    ]
)

_APART = re.compile(r"(double_blocks\.\d+\.(?:img|txt)_attn)_([qkv])(?=\.)")
_PART = re.compile(r"(double_blocks\.\d+\.(?:img|txt)_attn)_qkv:([qkv])")


def apart_name(part: str) -> str | None:
    """Return the repository's and musubi-tuner's name of a part of a layer that ComfyUI has whole; else None."""
    found = _PART.fullmatch(part)
    return f"{found[1]}_{found[2]}" if found else None


def in_repository(original: str) -> str:
    """Return the repository's name of a layer, of the whole one where it keeps no parts."""
    return apart_name(original) or whole_layer(original)


def rename_denoiser(tensors: Tensors) -> Tensors:
    """Return the tensors of a denoiser under diffusers' names, whichever layout they came in."""
    if not count_of(tensors, "double_blocks."):
        return tensors
    split = hunyuan.split_fused(tensors)
    parts = {_APART.sub(r"\1_qkv:\2", name): tensor for name, tensor in split.items()}
    return scale_before_shift(DENOISER.rename(parts), "norm_out.linear")
