"""The parts of HunyuanVideo in miniature, beside Llama's and the VAE's own."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import llama

CLIP_WIDTH = 64


def clip_text() -> Any:
    """Return a two-layer ``CLIPTextModel`` for the tokenizer of bytes, whose end mark is token 1."""
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"vocab_size": 320, "hidden_size": CLIP_WIDTH, "intermediate_size": 64, "num_hidden_layers": 2}
    return CLIPTextModel(
        CLIPTextConfig(**sizes, num_attention_heads=1, bos_token_id=None, eos_token_id=1, pad_token_id=0)
    )


def denoiser() -> Any:
    """Return a ``HunyuanVideoTransformer3DModel`` of one double and one single block."""
    from diffusers import HunyuanVideoTransformer3DModel

    sizes = {
        "num_attention_heads": 1,
        "attention_head_dim": 128,
        "num_layers": 1,
        "num_single_layers": 1,
        "num_refiner_layers": 1,
    }
    return HunyuanVideoTransformer3DModel(**sizes, text_embed_dim=llama.TINY_WIDTH, pooled_projection_dim=CLIP_WIDTH)
