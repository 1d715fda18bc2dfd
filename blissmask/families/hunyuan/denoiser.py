"""HunyuanVideo's denoiser: load it from a file or folder, and predict with it.

Shapes: B items, C channels, F latent frames, H and W latent rows and columns.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.families.conditioning import stacked
from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import open_checkpoint
from blissmask.families.hunyuan.names import VIDEO, in_diffusers_names
from blissmask.families.protocol import Batch

_KIND = "HunyuanVideo denoiser"
# The released model is distilled for guidance; training shows it scale 1, as musubi-tuner does by default.
_GUIDANCE = 1.0
_LORA_TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff(_context)?\.net\.(0\.proj|2))"
    r"|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out)"
)


class HunyuanDenoiser:
    """``HunyuanVideoTransformer3DModel`` as a :class:`blissmask.families.protocol.Denoiser`.

    Args:
        module: the model on its device.
        identity: names the weights by content.
        dtype: what activations are computed in.
    """

    # A pattern from the first letter: endings such as `to_q` would adapt the token refiner too.
    lora_targets = _LORA_TARGETS
    block_class_names = ("HunyuanVideoTransformerBlock", "HunyuanVideoSingleTransformerBlock")

    def __init__(self, module: Any, *, identity: str, dtype: torch.dtype) -> None:
        self.module: Any = module
        self.identity = identity
        self.dtype = dtype

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW.

        Uses ``llm``, ``llm_mask`` and ``clipL``; the timestep is 1000 * s.
        """
        device = batch.noisy_BCFHW.device
        guided = self.module.config.guidance_embeds
        velocity_BCFHW = self.module(
            hidden_states=batch.noisy_BCFHW.to(self.dtype),
            timestep=batch.timesteps_B.float() * 1000,
            encoder_hidden_states=stacked(batch.conditioning["llm"]).to(device, self.dtype),
            encoder_attention_mask=stacked(batch.conditioning["llm_mask"]).to(device).long(),
            pooled_projections=stacked(batch.conditioning["clipL"]).to(device, self.dtype),
            guidance=torch.full_like(batch.timesteps_B, _GUIDANCE * 1000, dtype=self.dtype) if guided else None,
            return_dict=False,
        )[0]
        return velocity_BCFHW.float()  # type: ignore[no-any-return]

    def original_name(self, module_name: str) -> str:
        """Return the original name of a diffusers module; parts of fused layers end in ``:q``, ``:k``, ``:v``, ``:mlp``."""
        return VIDEO.to_original(module_name)


def load_denoiser(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load ``HunyuanVideoTransformer3DModel`` from a single file: original, ComfyUI or diffusers names, fp8 included.

    Raises:
        ModelError: the file is damaged, no HunyuanVideo, or lacks keys.
    """
    from diffusers import HunyuanVideoTransformer3DModel

    tensors = in_diffusers_names(open_checkpoint(path), VIDEO)
    config = config_of(tensors, path)
    module = build_empty(lambda: HunyuanVideoTransformer3DModel(**config))
    return load_weights(module, tensors, source=path, device=device, dtype=dtype)


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``HunyuanVideoTransformer3DModel`` that fit ``tensors`` (diffusers names)."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    return {
        **sizes_of(tensors, path, kind=_KIND),
        "num_single_layers": count_of(tensors, "single_transformer_blocks."),
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in tensors,
        "pooled_projection_dim": shape("time_text_embed.text_embedder.linear_1.weight")[1],
    }


def sizes_of(tensors: Tensors, path: Path, *, kind: str) -> dict[str, Any]:
    """Return the arguments that the classes of HunyuanVideo 1.0 and 1.5 have both."""
    shape = partial(shape_of, tensors, source=path, kind=kind)
    width, in_channels, patch_time, patch, _ = shape("x_embedder.proj.weight")
    head = shape("transformer_blocks.0.attn.norm_q.weight")[0]
    return {
        "in_channels": in_channels,
        "out_channels": shape("proj_out.weight")[0] // (patch_time * patch * patch),
        "num_attention_heads": width // head,
        "attention_head_dim": head,
        "num_layers": count_of(tensors, "transformer_blocks."),
        "num_refiner_layers": count_of(tensors, "context_embedder.token_refiner.refiner_blocks."),
        "mlp_ratio": shape("transformer_blocks.0.ff.net.0.proj.weight")[0] / width,
        "patch_size": patch,
        "patch_size_t": patch_time,
        "text_embed_dim": shape("context_embedder.proj_in.weight")[1],
        "rope_axes_dim": (head // 8, head * 7 // 16, head * 7 // 16),
    }
