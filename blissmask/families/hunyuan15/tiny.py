"""The parts of HunyuanVideo 1.5 in miniature."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import qwen_vl

BYT5_WIDTH = 32
SIGLIP_WIDTH = 72


def vae() -> Any:
    """Return an ``AutoencoderKLHunyuanVideo15``: 32 channels, stride 16."""
    from diffusers import AutoencoderKLHunyuanVideo15

    return AutoencoderKLHunyuanVideo15(block_out_channels=(8, 16, 32, 64, 64), layers_per_block=1)


def qwen_language() -> Any:
    """Return a four-layer ``Qwen2_5_VLTextModel`` for the tokenizer of bytes."""
    return qwen_vl.tiny().language_model


def byt5() -> Any:
    """Return a two-block ``T5EncoderModel`` for ``ByT5Tokenizer``."""
    from transformers import T5Config, T5EncoderModel

    sizes = {"vocab_size": 384, "d_model": BYT5_WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return T5EncoderModel(T5Config(**sizes, feed_forward_proj="gated-gelu", is_encoder_decoder=False))


def siglip() -> Any:
    """Return a two-layer ``SiglipVisionModel`` for pictures of 28 pixels."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": SIGLIP_WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    return SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=28, patch_size=14))


def denoiser() -> Any:
    """Return a two-block ``HunyuanVideo15Transformer3DModel``."""
    from diffusers import HunyuanVideo15Transformer3DModel

    sizes = {"num_attention_heads": 1, "attention_head_dim": 128, "num_layers": 2, "num_refiner_layers": 1}
    return HunyuanVideo15Transformer3DModel(
        **sizes, text_embed_dim=qwen_vl.TINY_WIDTH, text_embed_2_dim=BYT5_WIDTH, image_embed_dim=SIGLIP_WIDTH
    )
