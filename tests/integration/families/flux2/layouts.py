"""FLUX.2's files as its own repository and ComfyUI store them: written from diffusers' weights, and their names alone."""

from __future__ import annotations

import torch
from torch import Tensor

from blissmask.families.files.stored_tensors import StoredTensor, Tensors
from blissmask.families.flux2 import names

DEPTHS = {
    # Width, double blocks, single blocks, text width, guidance: of the published files.
    "flux2-klein-4b": (3072, 5, 20, 7680, False),
    "flux2-klein-9b": (4096, 8, 24, 12288, False),
    "flux2-dev": (6144, 8, 48, 15360, True),
}


def in_original_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write a denoiser as the original does: fused double blocks, gains of norms as scales, shift before scale."""
    named = {names.DENOISER.to_original(key): value for key, value in state.items()}
    original: dict[str, Tensor] = {}
    for name, value in named.items():
        module, _, kind = name.rpartition(".")
        if ":" in module:
            whole = module.partition(":")[0]
            original[f"{whole}.{kind}"] = torch.cat([named[f"{whole}:{part}.{kind}"] for part in "qkv"])
        elif module.endswith("_norm"):
            original[f"{module}.scale"] = value
        elif name.startswith("final_layer.adaLN"):
            original[name] = torch.cat(value.chunk(2)[::-1])
        else:
            original[name] = value
    return original


def published_tensors(name: str) -> Tensors:
    """Return the published denoiser as its header shows it, written out from its architecture and not from our table."""
    width, double, single, text, guided = DEPTHS[name]
    shapes: dict[str, tuple[int, ...]] = {
        "img_in.weight": (width, 128),
        "txt_in.weight": (width, text),
        "double_stream_modulation_img.lin.weight": (6 * width, width),
        "double_stream_modulation_txt.lin.weight": (6 * width, width),
        "single_stream_modulation.lin.weight": (3 * width, width),
        "final_layer.linear.weight": (128, width),
        "final_layer.adaLN_modulation.1.weight": (2 * width, width),
    }
    for embedder in ("time_in", "guidance_in") if guided else ("time_in",):
        shapes[f"{embedder}.in_layer.weight"] = (width, 256)
        shapes[f"{embedder}.out_layer.weight"] = (width, width)
    for block in range(double):
        for stream in ("img", "txt"):
            start = f"double_blocks.{block}.{stream}"
            shapes[f"{start}_attn.qkv.weight"] = (3 * width, width)
            shapes[f"{start}_attn.proj.weight"] = (width, width)
            shapes[f"{start}_attn.norm.query_norm.scale"] = (128,)
            shapes[f"{start}_attn.norm.key_norm.scale"] = (128,)
            shapes[f"{start}_mlp.0.weight"] = (6 * width, width)
            shapes[f"{start}_mlp.2.weight"] = (width, 3 * width)
    for block in range(single):
        start = f"single_blocks.{block}"
        shapes[f"{start}.linear1.weight"] = (9 * width, width)
        shapes[f"{start}.linear2.weight"] = (width, 4 * width)
        shapes[f"{start}.norm.query_norm.scale"] = (128,)
        shapes[f"{start}.norm.key_norm.scale"] = (128,)
    return {name: StoredTensor(shape, Tensor) for name, shape in shapes.items()}


def vae_in_ldm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write ``AutoencoderKLFlux2`` as ``flux2-vae.safetensors`` names it, by the rules of latent-diffusion."""
    levels = 4
    renamed = {}
    for key, value in state.items():
        name = key
        if "attentions.0" in key:
            name = key.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            for ours, ldm in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
                name = name.replace(f".{ours}.", f".{ldm}.")
            value = value[..., None, None] if value.ndim == 2 else value
        name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        for level in range(levels):
            name = name.replace(f"down_blocks.{level}.resnets", f"down.{level}.block")
            name = name.replace(f"down_blocks.{level}.downsamplers.0", f"down.{level}.downsample")
            name = name.replace(f"up_blocks.{level}.resnets", f"up.{levels - 1 - level}.block")
            name = name.replace(f"up_blocks.{level}.upsamplers.0", f"up.{levels - 1 - level}.upsample")
        for half, conv in (("encoder", "quant_conv"), ("decoder", "post_quant_conv")):
            name = f"{half}.{name}" if name.startswith(f"{conv}.") else name
        renamed[name] = value
    return renamed
