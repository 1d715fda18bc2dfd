"""Names of FLUX.2's modules in its own repository and ComfyUI, and in diffusers.

The original keeps query, key and value of a double block in one layer, whose parts are called ``img_attn.qkv:q`` here.
Single blocks keep them together with the feed-forward in both.
"""

from __future__ import annotations

from blissmask.families.files.keymap import KeyMap, below, qkv_pairs
from blissmask.families.files.stored_tensors import Tensors, count_of, scale_before_shift, with_qkv_apart

_DOUBLE = [
    *qkv_pairs("img_attn.qkv", "attn.to_*"),
    *qkv_pairs("txt_attn.qkv", "attn.add_*_proj"),
    ("img_attn.norm.query_norm", "attn.norm_q"),
    ("img_attn.norm.key_norm", "attn.norm_k"),
    ("txt_attn.norm.query_norm", "attn.norm_added_q"),
    ("txt_attn.norm.key_norm", "attn.norm_added_k"),
    ("img_attn.proj", "attn.to_out.0"),
    ("txt_attn.proj", "attn.to_add_out"),
    ("img_mlp.0", "ff.linear_in"),
    ("img_mlp.2", "ff.linear_out"),
    ("txt_mlp.0", "ff_context.linear_in"),
    ("txt_mlp.2", "ff_context.linear_out"),
]
_SINGLE = [
    ("linear1", "attn.to_qkv_mlp_proj"),
    ("linear2", "attn.to_out"),
    ("norm.query_norm", "attn.norm_q"),
    ("norm.key_norm", "attn.norm_k"),
]
DENOISER = KeyMap(
    [
        ("img_in", "x_embedder"),
        ("txt_in", "context_embedder"),
        ("time_in.in_layer", "time_guidance_embed.timestep_embedder.linear_1"),
        ("time_in.out_layer", "time_guidance_embed.timestep_embedder.linear_2"),
        ("guidance_in.in_layer", "time_guidance_embed.guidance_embedder.linear_1"),
        ("guidance_in.out_layer", "time_guidance_embed.guidance_embedder.linear_2"),
        ("double_stream_modulation_img.lin", "double_stream_modulation_img.linear"),
        ("double_stream_modulation_txt.lin", "double_stream_modulation_txt.linear"),
        ("single_stream_modulation.lin", "single_stream_modulation.linear"),
        ("final_layer.adaLN_modulation.1", "norm_out.linear"),
        ("final_layer.linear", "proj_out"),
        *below("double_blocks.{}", "transformer_blocks.{}", _DOUBLE),
        *below("single_blocks.{}", "single_transformer_blocks.{}", _SINGLE),
    ]
)


def rename_denoiser(tensors: Tensors) -> Tensors:
    """Return the tensors of a denoiser under diffusers' names, from its own repository's and ComfyUI's or these."""
    if not count_of(tensors, "double_blocks."):
        return tensors
    apart = with_qkv_apart(tensors, "_attn.qkv")
    # Diffusers calls the gain of a norm its weight.
    parts = {name.replace("_norm.scale", "_norm.weight"): tensor for name, tensor in apart.items()}
    return scale_before_shift(DENOISER.rename(parts), "norm_out.linear")
