"""The VAE and the denoiser of HunyuanVideo 1.5 in miniature."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import qwen_vl, siglip, t5


def vae() -> Any:
    """Return an ``AutoencoderKLHunyuanVideo15``: 32 channels, stride 16."""
    from diffusers import AutoencoderKLHunyuanVideo15

    return AutoencoderKLHunyuanVideo15(block_out_channels=(8, 16, 32, 64, 64), layers_per_block=1)


def denoiser() -> Any:
    """Return a two-block ``HunyuanVideo15Transformer3DModel``."""
    from diffusers import HunyuanVideo15Transformer3DModel

    sizes = {"num_attention_heads": 1, "attention_head_dim": 128, "num_layers": 2, "num_refiner_layers": 1}
    return HunyuanVideo15Transformer3DModel(
        **sizes,
        text_embed_dim=qwen_vl.TINY_WIDTH,
        text_embed_2_dim=t5.TINY_WIDTH,
        image_embed_dim=siglip.TINY_WIDTH,
    )
