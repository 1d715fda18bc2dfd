"""The parts of the Wan families in miniature, beside UMT5's own."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import t5

CLIP_WIDTH = 80


def vae() -> Any:
    """Return an ``AutoencoderKLWan`` of the Wan 2.1 layout: 16 channels, stride 8."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def vae_5b() -> Any:
    """Return an ``AutoencoderKLWan`` of the Wan 2.2 layout: 48 channels, stride 16."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=48,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
        latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
    )


def clip() -> Any:
    """Return a two-block ``CLIPVisionModel`` for pictures of 28 pixels."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": CLIP_WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    return CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=28, patch_size=14, hidden_act="gelu"))


def denoiser(*, in_channels: int = 16, out_channels: int = 16, image_dim: int | None = None) -> Any:
    """Return a two-block ``WanTransformer3DModel``."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=128,
        in_channels=in_channels,
        out_channels=out_channels,
        text_dim=t5.TINY_WIDTH,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        image_dim=image_dim,
        added_kv_proj_dim=None if image_dim is None else 128,
    )
