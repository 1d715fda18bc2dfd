"""The parts of Z-Image in miniature, beside Qwen3's own."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import qwen3
from blissmask.families.vae import kl


def vae() -> Any:
    """Return an ``AutoencoderKL``: 16 channels, stride 8, no quant convolutions."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        # Groups of its norms have 32 channels.
        block_out_channels=(32, 32, 32, 32),
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=kl.FLUX_SCALE,
        shift_factor=kl.FLUX_SHIFT,
        # Decoding in tiles starts at 256 pixels here.
        sample_size=256,
    )


def denoiser() -> Any:
    """Return a ``ZImageTransformer2DModel`` of two layers and one refiner for each stream."""
    from diffusers import ZImageTransformer2DModel

    return ZImageTransformer2DModel(
        dim=256, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=qwen3.TINY_WIDTH
    )
