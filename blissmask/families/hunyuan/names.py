"""Names of HunyuanVideo's modules in the original repositories, in ComfyUI and in diffusers.

The originals keep query, key and value (and a single block's feed-forward) in one layer; its parts are called
``img_attn_qkv:q`` here, so that one table covers both directions.
"""

from __future__ import annotations

import re

from blissmask.families.files.keymap import KeyMap
from blissmask.families.files.stored_tensors import StoredTensor, Tensors

_EMBEDDINGS = (
    ("txt_in.t_embedder.mlp.0", "context_embedder.time_text_embed.timestep_embedder.linear_1"),
    ("txt_in.t_embedder.mlp.2", "context_embedder.time_text_embed.timestep_embedder.linear_2"),
    ("txt_in.c_embedder", "context_embedder.time_text_embed.text_embedder"),
    ("txt_in.input_embedder", "context_embedder.proj_in"),
    ("img_in", "x_embedder"),
    ("final_layer.adaLN_modulation.1", "norm_out.linear"),
    ("final_layer.linear", "proj_out"),
)


def _refiner() -> list[tuple[str, str]]:
    original, ours = "txt_in.individual_token_refiner.blocks.{}", "context_embedder.token_refiner.refiner_blocks.{}"
    names = [
        ("self_attn_proj", "attn.to_out.0"),
        ("mlp.fc1", "ff.net.0.proj"),
        ("mlp.fc2", "ff.net.2"),
        ("adaLN_modulation.1", "norm_out.linear"),
    ]
    names += [(f"self_attn_qkv:{part}", f"attn.to_{part}") for part in "qkv"]
    return [*((f"{original}.{theirs}", f"{ours}.{mine}") for theirs, mine in names), (original, ours)]


def _double_blocks(*, fused: bool) -> list[tuple[str, str]]:
    joint = "_qkv:" if fused else "_"
    names = [
        *((f"img_attn{joint}{part}", f"attn.to_{part}") for part in "qkv"),
        *((f"txt_attn{joint}{part}", f"attn.add_{part}_proj") for part in "qkv"),
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
    ]
    return [*((f"double_blocks.{{}}.{theirs}", f"transformer_blocks.{{}}.{ours}") for theirs, ours in names), _BLOCKS]


_BLOCKS = ("double_blocks.{}", "transformer_blocks.{}")

VIDEO = KeyMap(
    [
        ("time_in.mlp.0", "time_text_embed.timestep_embedder.linear_1"),
        ("time_in.mlp.2", "time_text_embed.timestep_embedder.linear_2"),
        ("guidance_in.mlp.0", "time_text_embed.guidance_embedder.linear_1"),
        ("guidance_in.mlp.2", "time_text_embed.guidance_embedder.linear_2"),
        ("vector_in.in_layer", "time_text_embed.text_embedder.linear_1"),
        ("vector_in.out_layer", "time_text_embed.text_embedder.linear_2"),
        *_EMBEDDINGS,
        *_refiner(),
        *_double_blocks(fused=True),
        *((f"single_blocks.{{}}.linear1:{part}", f"single_transformer_blocks.{{}}.attn.to_{part}") for part in "qkv"),
        ("single_blocks.{}.linear1:mlp", "single_transformer_blocks.{}.proj_mlp"),
        ("single_blocks.{}.linear2", "single_transformer_blocks.{}.proj_out"),
        ("single_blocks.{}.q_norm", "single_transformer_blocks.{}.attn.norm_q"),
        ("single_blocks.{}.k_norm", "single_transformer_blocks.{}.attn.norm_k"),
        ("single_blocks.{}.modulation.linear", "single_transformer_blocks.{}.norm.linear"),
        ("single_blocks.{}", "single_transformer_blocks.{}"),
    ]
)

VIDEO_15 = KeyMap(
    [
        ("time_in.mlp.0", "time_embed.timestep_embedder.linear_1"),
        ("time_in.mlp.2", "time_embed.timestep_embedder.linear_2"),
        ("time_r_in.mlp.0", "time_embed.timestep_embedder_r.linear_1"),
        ("time_r_in.mlp.2", "time_embed.timestep_embedder_r.linear_2"),
        ("byt5_in.layernorm", "context_embedder_2.norm"),
        ("byt5_in.fc1", "context_embedder_2.linear_1"),
        ("byt5_in.fc2", "context_embedder_2.linear_2"),
        ("byt5_in.fc3", "context_embedder_2.linear_3"),
        ("vision_in.proj.0", "image_embedder.norm_in"),
        ("vision_in.proj.1", "image_embedder.linear_1"),
        ("vision_in.proj.3", "image_embedder.linear_2"),
        ("vision_in.proj.4", "image_embedder.norm_out"),
        ("cond_type_embedding", "cond_type_embed"),
        *_EMBEDDINGS,
        *_refiner(),
        *_double_blocks(fused=False),
    ]
)

_MID_ATTENTION = [*((f"attn_1.{part}", f"attentions.0.to_{part}") for part in "qkv"), ("attn_1", "attentions.0")]

VAE_15 = KeyMap(
    [
        *(
            (f"{side}.mid.{theirs}", f"{side}.mid_block.{ours}")
            for side in ("encoder", "decoder")
            for theirs, ours in _MID_ATTENTION
        ),
        *(
            (f"{side}.mid.block_{i + 1}", f"{side}.mid_block.resnets.{i}")
            for side in ("encoder", "decoder")
            for i in (0, 1)
        ),
        ("encoder.down.{}.block.{}", "encoder.down_blocks.{}.resnets.{}"),
        ("encoder.down.{}.downsample", "encoder.down_blocks.{}.downsamplers.0"),
        ("decoder.up.{}.block.{}", "decoder.up_blocks.{}.resnets.{}"),
        ("decoder.up.{}.upsample", "decoder.up_blocks.{}.upsamplers.0"),
    ]
)

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
        (r"^((?:txt_in\.)?t_embedder|time_in|time_r_in|guidance_in|txt_in\.t_embedder)\.in_layer\.", r"\1.mlp.0."),
        (r"^((?:txt_in\.)?t_embedder|time_in|time_r_in|guidance_in|txt_in\.t_embedder)\.out_layer\.", r"\1.mlp.2."),
        (r"^txt_in\.c_embedder\.in_layer\.", "txt_in.c_embedder.linear_1."),
        (r"^txt_in\.c_embedder\.out_layer\.", "txt_in.c_embedder.linear_2."),
    )
]
# Time and text embedders have an `mlp.0` of their own that the feed-forward rule must not touch.
_EMBEDDERS = re.compile(r"^(time_in|time_r_in|guidance_in|txt_in\.t_embedder)\.mlp\.")


def in_diffusers_names(tensors: Tensors, keymap: KeyMap) -> Tensors:
    """Return the tensors of a HunyuanVideo denoiser under diffusers' names, whichever layout they came in."""
    if not any(name.startswith("double_blocks.") for name in tensors):
        return tensors
    original = {_from_comfyui(name): tensor for name, tensor in tensors.items()}
    split: Tensors = {}
    for name, tensor in original.items():
        split.update(_split(name, tensor))
    if keymap is VIDEO_15:
        # Fused by ComfyUI only: the 1.5 repository keeps the parts apart itself.
        split = {
            re.sub(r"(double_blocks\.\d+\.(?:img|txt)_attn)_qkv:", r"\1_", name): tensor
            for name, tensor in split.items()
        }
    renamed = keymap.rename(split)
    for name in ("norm_out.linear.weight", "norm_out.linear.bias"):
        if name in renamed:
            renamed[name] = renamed[name].halves_swapped()
    return renamed


def _from_comfyui(name: str) -> str:
    if _EMBEDDERS.match(name):
        return name
    for pattern, original in _FROM_COMFYUI:
        name = pattern.sub(original, name)
    return name


def _split(name: str, tensor: StoredTensor) -> Tensors:
    """Take a fused layer apart along its output: three equal parts, and in single blocks the feed-forward after them."""
    module, _, kind = name.rpartition(".")
    if module.endswith("_qkv"):
        part = tensor.shape[0] // 3
        return {f"{module}:{letter}.{kind}": tensor.rows(i * part, (i + 1) * part) for i, letter in enumerate("qkv")}
    if module.startswith("single_blocks.") and module.endswith(".linear1"):
        # Of 3 + 4 parts of the width (every release has a feed-forward of four times the width).
        part = tensor.shape[0] // 7
        parts = {f"{module}:{letter}.{kind}": tensor.rows(i * part, (i + 1) * part) for i, letter in enumerate("qkv")}
        return {**parts, f"{module}:mlp.{kind}": tensor.rows(3 * part, tensor.shape[0])}
    return {name: tensor}
