"""HunyuanVideo denoisers as the original repositories and ComfyUI store them, written from diffusers' weights."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor


def in_original_layout(state: dict[str, Tensor], keymap: Any, apart: str = "no") -> dict[str, Tensor]:
    """Write a HunyuanVideo denoiser as the original repositories do: fused layers, shift before scale at the end.

    Layers whose name matches the pattern ``apart`` are not fused.
    """
    named = {re.sub(rf"({apart})_qkv:", r"\1_", keymap.to_original(key)): value for key, value in state.items()}
    original: dict[str, Tensor] = {}
    for name, value in named.items():
        if ":" not in name:
            original[name] = torch.cat(value.chunk(2)[::-1]) if name.startswith("final_layer.adaLN") else value
            continue
        module, kind = name.partition(":")[0], name.rpartition(".")[2]
        parts = [
            named[f"{module}:{part}.{kind}"] for part in ("q", "k", "v", "mlp") if f"{module}:{part}.{kind}" in named
        ]
        original[f"{module}.{kind}"] = torch.cat(parts)
    return original


def vae_in_comfyui_layout(state: dict[str, Tensor], stages: int) -> dict[str, Tensor]:
    """Write a VAE of 1.0 as ComfyUI does: names of latent diffusion, attention as convolutions, stages upwards."""
    renamed = {}
    for key, value in state.items():
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
        name = re.sub(r"encoder\.down_blocks\.(\d)\.resnets", r"encoder.down.\1.block", name)
        name = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", name)
        name = re.sub(
            r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers\.0)",
            lambda m: f"decoder.up.{stages - 1 - int(m[1])}.{'block' if m[2] == 'resnets' else 'upsample'}",
            name,
        )
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if ".attentions.0." in name:
            name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            name = name.replace("to_out.0", "proj_out").replace("to_", "")
            value = value[..., None, None, None] if value.ndim == 2 else value
        renamed[name] = value
    return renamed


def in_comfyui_layout(original: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the modules that ComfyUI calls otherwise, and fuse what 1.5 keeps apart."""
    fused: dict[str, Tensor] = {}
    for name, value in original.items():
        if found := re.match(r"(double_blocks\.\d+\.(?:img|txt)_attn)_([qkv])\.(weight|bias)$", name):
            fused[f"{found[1]}_qkv.{found[3]}"] = torch.cat(
                [original[f"{found[1]}_{part}.{found[3]}"] for part in "qkv"]
            )
        else:
            fused[name] = value
    renamed = {}
    for key, value in fused.items():
        name = re.sub(
            r"(img|txt)_attn_([qk])_norm\.weight",
            lambda m: f"{m[1]}_attn.norm.{'query' if m[2] == 'q' else 'key'}_norm.scale",
            key,
        )
        name = re.sub(
            r"(single_blocks\.\d+)\.([qk])_norm\.weight",
            lambda m: f"{m[1]}.norm.{'query' if m[2] == 'q' else 'key'}_norm.scale",
            name,
        )
        name = re.sub(r"(img|txt|self)_attn_(qkv|proj)\.", r"\1_attn.\2.", name)
        name = name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2")
        name = name.replace("_mod.linear.", "_mod.lin.").replace("modulation.linear.", "modulation.lin.")
        name = re.sub(r"^(time_in|guidance_in|txt_in\.t_embedder)\.mlp\.0\.", r"\1.in_layer.", name)
        name = re.sub(r"^(time_in|guidance_in|txt_in\.t_embedder)\.mlp\.2\.", r"\1.out_layer.", name)
        name = name.replace("txt_in.c_embedder.linear_1", "txt_in.c_embedder.in_layer")
        renamed[name.replace("txt_in.c_embedder.linear_2", "txt_in.c_embedder.out_layer")] = value
    return renamed
