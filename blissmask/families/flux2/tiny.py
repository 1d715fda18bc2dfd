"""The denoisers of FLUX.2 in miniature."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import qwen3
from blissmask.families.flux2.templates import KLEIN


def denoiser(*, guided: bool = False) -> Any:
    """Return a ``Flux2Transformer2DModel`` of one double and one single block; ``guided`` as dev."""
    from diffusers import Flux2Transformer2DModel

    return Flux2Transformer2DModel(
        num_layers=1,
        num_single_layers=1,
        num_attention_heads=1,
        joint_attention_dim=len(KLEIN.taps) * qwen3.TINY_WIDTH,
        guidance_embeds=guided,
    )


def guided_denoiser() -> Any:
    """Return :func:`denoiser` with the guidance embedder of dev."""
    return denoiser(guided=True)
