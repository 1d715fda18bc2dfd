"""Names of Krea 2's modules in the original repository, which ComfyUI keeps, and in diffusers."""

from __future__ import annotations

from blissmask.families.files.keymap import KeyMap, below
from blissmask.families.files.stored_tensors import Tensors

_BLOCK = (
    ("attn.wq", "attn.to_q"),
    ("attn.wk", "attn.to_k"),
    ("attn.wv", "attn.to_v"),
    ("attn.wo", "attn.to_out.0"),
    ("attn.gate", "attn.to_gate"),
    ("attn.qknorm.qnorm.scale", "attn.norm_q.weight"),
    ("attn.qknorm.knorm.scale", "attn.norm_k.weight"),
    ("mlp", "ff"),
    ("prenorm.scale", "norm1.weight"),
    ("postnorm.scale", "norm2.weight"),
)
DENOISER = KeyMap(
    [
        ("first", "img_in"),
        ("tmlp.0", "time_embed.linear_1"),
        ("tmlp.2", "time_embed.linear_2"),
        ("tproj.1", "time_mod_proj"),
        ("txtmlp.0.scale", "txt_in.norm.weight"),
        ("txtmlp.1", "txt_in.linear_1"),
        ("txtmlp.3", "txt_in.linear_2"),
        ("txtfusion.projector", "text_fusion.projector"),
        *below("blocks.{}", "transformer_blocks.{}", _BLOCK),
        *below("txtfusion.layerwise_blocks.{}", "text_fusion.layerwise_blocks.{}", _BLOCK),
        *below("txtfusion.refiner_blocks.{}", "text_fusion.refiner_blocks.{}", _BLOCK),
        ("blocks.{}.mod.lin", "transformer_blocks.{}.scale_shift_table"),
        ("last.linear", "final_layer.linear"),
        ("last.norm.scale", "final_layer.norm.weight"),
        ("last.modulation.lin", "final_layer.scale_shift_table"),
    ]
)


def rename_denoiser(tensors: Tensors) -> Tensors:
    """Return the tensors of a denoiser under diffusers' names, whichever layout they came in.

    The original keeps the six modulations of a block in one row.
    """
    renamed = DENOISER.rename(tensors)
    for name, tensor in renamed.items():
        if name.endswith(".scale_shift_table") and len(tensor.shape) == 1:
            renamed[name] = tensor.reshaped((6, tensor.shape[0] // 6))
    return renamed
