"""Names of HunyuanVideo 1.5's modules in the original repository, in ComfyUI and in diffusers: mostly those of 1.0."""

from __future__ import annotations

import re

from blissmask.families.files.keymap import KeyMap
from blissmask.families.files.stored_tensors import Tensors
from blissmask.families.hunyuan import names as hunyuan

DENOISER = KeyMap(
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
        *hunyuan.EMBEDDINGS,
        *hunyuan.refiner(),
        *hunyuan.double_blocks(fused=False),
    ]
)

_MID_ATTENTION = [*((f"attn_1.{part}", f"attentions.0.to_{part}") for part in "qkv"), ("attn_1", "attentions.0")]

VAE = KeyMap(
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

_FUSED = re.compile(r"(double_blocks\.\d+\.(?:img|txt)_attn)_qkv:")


def rename_denoiser(tensors: Tensors) -> Tensors:
    """Return the tensors of a denoiser under diffusers' names, whichever layout they came in."""
    if not hunyuan.is_original(tensors):
        return tensors
    split = hunyuan.split_fused(tensors)
    # ComfyUI fuses what the repository of 1.5 keeps apart.
    apart = {_FUSED.sub(r"\1_", name): tensor for name, tensor in split.items()}
    return hunyuan.scale_before_shift(DENOISER.rename(apart))


def rename_vae(tensors: Tensors) -> Tensors:
    """Return the tensors of a VAE under diffusers' names, whichever layout they came in."""
    plain = hunyuan.rename_vae(tensors)
    return VAE.rename(plain) if "encoder.down.0.block.0.conv1.conv.weight" in plain else plain
