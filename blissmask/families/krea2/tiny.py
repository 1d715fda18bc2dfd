"""The denoiser of Krea 2 in miniature."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import qwen3_vl


def denoiser() -> Any:
    """Return a two-block ``Krea2Transformer2DModel``, two query heads to one key head."""
    from diffusers import Krea2Transformer2DModel

    return Krea2Transformer2DModel(
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=128,
        timestep_embed_dim=32,
        text_hidden_dim=qwen3_vl.TINY_WIDTH,
        text_num_attention_heads=1,
        text_num_key_value_heads=1,
        text_intermediate_size=64,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(32, 48, 48),
    )
