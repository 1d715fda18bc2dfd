"""Names of HunyuanVideo's modules in the original repository, in ComfyUI and in diffusers.

The original keeps query, key and value (and a single block's feed-forward) in one layer; its parts are called
``img_attn_qkv:q`` here, so that one table covers both directions.
"""

from __future__ import annotations

import re

from blissmask.families.files.keymap import KeyMap, below, qkv_pairs
from blissmask.families.files.lora_readers import Spelling, comfyui, whole_layer
from blissmask.families.files.stored_tensors import StoredTensor, Tensors, count_of, qkv_parts, scale_before_shift

EMBEDDINGS = (
    ("txt_in.t_embedder.mlp.0", "context_embedder.time_text_embed.timestep_embedder.linear_1"),
    ("txt_in.t_embedder.mlp.2", "context_embedder.time_text_embed.timestep_embedder.linear_2"),
    ("txt_in.c_embedder", "context_embedder.time_text_embed.text_embedder"),
    ("txt_in.input_embedder", "context_embedder.proj_in"),
    ("img_in", "x_embedder"),
    ("final_layer.adaLN_modulation.1", "norm_out.linear"),
    ("final_layer.linear", "proj_out"),
)


def refiner() -> list[tuple[str, str]]:
    """Return the pairs of the token refiner."""
    original, ours = "txt_in.individual_token_refiner.blocks.{}", "context_embedder.token_refiner.refiner_blocks.{}"
    names = [
        ("self_attn_proj", "attn.to_out.0"),
        ("mlp.fc1", "ff.net.0.proj"),
        ("mlp.fc2", "ff.net.2"),
        ("adaLN_modulation.1", "norm_out.linear"),
    ]
    names += qkv_pairs("self_attn_qkv", "attn.to_*")
    return [*below(original, ours, names), (original, ours)]


_BLOCKS = ("double_blocks.{}", "transformer_blocks.{}")
_IN_DOUBLE_BLOCKS = (
    *qkv_pairs("img_attn_qkv", "attn.to_*"),
    *qkv_pairs("txt_attn_qkv", "attn.add_*_proj"),
    *((f"img_attn_{part}_norm", f"attn.norm_{part}") for part in "qk"),
    *((f"txt_attn_{part}_norm", f"attn.norm_added_{part}") for part in "qk"),
    ("img_attn_proj", "attn.to_out.0"),
    ("txt_attn_proj", "attn.to_add_out"),
    ("img_mod.linear", "norm1.linear"),
    ("txt_mod.linear", "norm1_context.linear"),
    ("img_mlp.fc1", "ff.net.0.proj"),
    ("img_mlp.fc2", "ff.net.2"),
    ("txt_mlp.fc1", "ff_context.net.0.proj"),
    ("txt_mlp.fc2", "ff_context.net.2"),
)
DOUBLE_BLOCKS = (*below(*_BLOCKS, _IN_DOUBLE_BLOCKS), _BLOCKS)

DENOISER = KeyMap(
    [
        ("time_in.mlp.0", "time_text_embed.timestep_embedder.linear_1"),
        ("time_in.mlp.2", "time_text_embed.timestep_embedder.linear_2"),
        ("guidance_in.mlp.0", "time_text_embed.guidance_embedder.linear_1"),
        ("guidance_in.mlp.2", "time_text_embed.guidance_embedder.linear_2"),
        ("vector_in.in_layer", "time_text_embed.text_embedder.linear_1"),
        ("vector_in.out_layer", "time_text_embed.text_embedder.linear_2"),
        *EMBEDDINGS,
        *refiner(),
        *DOUBLE_BLOCKS,
        *qkv_pairs("single_blocks.{}.linear1", "single_transformer_blocks.{}.attn.to_*"),
        ("single_blocks.{}.linear1:mlp", "single_transformer_blocks.{}.proj_mlp"),
        ("single_blocks.{}.linear2", "single_transformer_blocks.{}.proj_out"),
        ("single_blocks.{}.q_norm", "single_transformer_blocks.{}.attn.norm_q"),
        ("single_blocks.{}.k_norm", "single_transformer_blocks.{}.attn.norm_k"),
        ("single_blocks.{}.modulation.linear", "single_transformer_blocks.{}.norm.linear"),
        ("single_blocks.{}", "single_transformer_blocks.{}"),
    ]
)

_TO_COMFYUI = (
    (re.compile(r"_attn_(qkv|proj)\b"), r"_attn.\1"),
    (re.compile(r"mlp\.fc1\b"), "mlp.0"),
    (re.compile(r"mlp\.fc2\b"), "mlp.2"),
    (re.compile(r"(_mod|\.modulation)\.linear\b"), r"\1.lin"),
)


def in_comfyui(original: str) -> str:
    """Return ComfyUI's own name of a layer, of the whole one for a part."""
    name = whole_layer(original)
    for pattern, own in _TO_COMFYUI:
        name = pattern.sub(own, name)
    return name


COMFYUI = comfyui(in_comfyui, Spelling("diffusion_model."), Spelling("transformer."))
"""It also looks for the original names of layers, as diffusion-pipe writes them."""

_TIMES = r"time_in|time_r_in|guidance_in|txt_in\.t_embedder"
# ComfyUI's own names for the same modules, brought back to the original's first.
_FROM_COMFYUI = [
    (re.compile(pattern), original)
    for pattern, original in (
        (r"(img|txt)_attn\.norm\.(query|key)_norm\.(scale|weight)$", lambda m: f"{m[1]}_attn_{m[2][0]}_norm.weight"),
        (r"(single_blocks\.\d+)\.norm\.(query|key)_norm\.(scale|weight)$", lambda m: f"{m[1]}.{m[2][0]}_norm.weight"),
        (r"(img|txt|self)_attn\.(qkv|proj)\.", r"\1_attn_\2."),
        (r"mlp\.0\.(weight|bias)$", r"mlp.fc1.\1"),
        (r"mlp\.2\.(weight|bias)$", r"mlp.fc2.\1"),
        (r"(_mod|modulation)\.lin\.", r"\1.linear."),
        (rf"^({_TIMES})\.in_layer\.", r"\1.mlp.0."),
        (rf"^({_TIMES})\.out_layer\.", r"\1.mlp.2."),
        (r"^txt_in\.c_embedder\.in_layer\.", "txt_in.c_embedder.linear_1."),
        (r"^txt_in\.c_embedder\.out_layer\.", "txt_in.c_embedder.linear_2."),
    )
]
# Time and text embedders have an `mlp.0` of their own that the feed-forward rule must not touch.
_EMBEDDERS = re.compile(rf"^({_TIMES})\.mlp\.")


def rename_denoiser(tensors: Tensors) -> Tensors:
    """Return the tensors of a HunyuanVideo denoiser under diffusers' names, whichever layout they came in."""
    if not count_of(tensors, "double_blocks."):
        return tensors
    return scale_before_shift(DENOISER.rename(split_fused(tensors)), "norm_out.linear")


def rename_clip(tensors: Tensors) -> Tensors:
    """Return the tensors of CLIP's text half as transformers names them, from ComfyUI's ``clip_l``."""
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


def split_fused(tensors: Tensors) -> Tensors:
    """Return the tensors under original names, ComfyUI's brought back to them, and fused layers taken apart."""
    split: Tensors = {}
    for name, tensor in tensors.items():
        split.update(_split(_from_comfyui(name), tensor))
    return split


def _from_comfyui(name: str) -> str:
    if _EMBEDDERS.match(name):
        return name
    for pattern, original in _FROM_COMFYUI:
        name = pattern.sub(original, name)
    return name


def _split(name: str, tensor: StoredTensor) -> Tensors:
    """Take a fused layer apart along its output: three equal parts; in single blocks the feed-forward follows."""
    module, _, kind = name.rpartition(".")
    if module.endswith("_qkv"):
        return qkv_parts(name, tensor)
    if module.startswith("single_blocks.") and module.endswith(".linear1"):
        # Of 3 + 4 parts of the width (every release has a feed-forward of four times the width).
        rows = tensor.shape[0]
        return {**qkv_parts(name, tensor, of=7), f"{module}:mlp.{kind}": tensor.rows(3 * (rows // 7), rows)}
    return {name: tensor}
