"""The parts of FLUX.2 in miniature."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import qwen3
from blissmask.families.flux2.templates import DEV, KLEIN

_WIDTH = 128


def qwen() -> Any:
    """Return a narrow ``Qwen3Model`` with one layer more than are read: the last state has passed the final norm."""
    return qwen3.tiny(KLEIN.taps[-1] + 1)


def mistral() -> Any:
    """Return a miniature ``Mistral3Model``, likewise."""
    from transformers import Mistral3Config, Mistral3Model

    from blissmask.families.encoders.mistral import CONSTANTS

    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 128}
    sizes = {"vocab_size": 320, "hidden_size": _WIDTH, "intermediate_size": 64}
    text = {**sizes, **heads, "num_hidden_layers": DEV.taps[-1] + 1}
    vision = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    return Mistral3Model(
        Mistral3Config(
            text_config={"model_type": "mistral", **text, **CONSTANTS},
            vision_config={"model_type": "pixtral", "image_size": 28, **vision},
        )
    )


def denoiser(*, guided: bool = False) -> Any:
    """Return a ``Flux2Transformer2DModel`` of one double and one single block; ``guided`` as dev."""
    from diffusers import Flux2Transformer2DModel

    return Flux2Transformer2DModel(
        num_layers=1,
        num_single_layers=1,
        num_attention_heads=1,
        joint_attention_dim=len(KLEIN.taps) * _WIDTH,
        guidance_embeds=guided,
    )


def guided_denoiser() -> Any:
    """Return :func:`denoiser` with the guidance embedder of dev."""
    return denoiser(guided=True)
