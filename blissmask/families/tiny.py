"""Miniature seeded instances of the real classes, for ``--model tiny`` and the tests: the whole road runs anywhere in a minute.

Sizes that loaders cannot read from shapes (heads of 128 channels) are those of the full models, so tiny single files
load like real ones. Nobody's random state is touched, and the same seed gives the same weights in every process.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

SEED = 0
TEXT_WIDTH = 32
CLIP_WIDTH = 80
VL_WIDTH = 128
CLIP_TEXT_WIDTH = 64
SIGLIP_WIDTH = 72
_END, _PAD = "</s>", "<pad>"


def seeded(make: Callable[[], nn.Module], *, device: torch.device, dtype: torch.dtype, name: str) -> nn.Module:
    """Return ``make()`` with weights drawn from a seed that follows from ``name``, frozen, in eval mode.

    By name, so that the two experts of a family differ.
    """
    import torch

    from blissmask.families.files.loading import place

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(name.encode()))
        module = make()
    return place(module, device=device, dtype=dtype)


def tiny_identity(*parts: str) -> str:
    """Return the identity of a tiny model: its weights follow from its name and the seed."""
    return "-".join(("tiny", *parts, f"seed{SEED}"))


def byte_tokenizer(*, specials: tuple[str, ...] = (), end: bool = True) -> Any:
    """Return a fast tokenizer whose tokens are the 256 bytes and ``specials``; reads no file and learns nothing.

    Args:
        specials: further special tokens, e.g. of a chat template.
        end: whether every text ends in ``</s>``, as T5's does.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = [_PAD, _END, *specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_PAD, _END, *specials])
    if end:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END, pad_token=_PAD, padding_side="right")


def wan_transformer(*, in_channels: int = 16, out_channels: int = 16, image_dim: int | None = None) -> Any:
    """Return a two-block ``WanTransformer3DModel``."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=128,
        in_channels=in_channels,
        out_channels=out_channels,
        text_dim=TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        image_dim=image_dim,
        added_kv_proj_dim=None if image_dim is None else 128,
    )


def wan_vae() -> Any:
    """Return an ``AutoencoderKLWan`` of the Wan 2.1 layout: 16 channels, stride 8."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def umt5() -> Any:
    """Return a two-block ``UMT5EncoderModel`` for :func:`byte_tokenizer`."""
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        vocab_size=320, d_model=TEXT_WIDTH, d_kv=8, d_ff=64, num_layers=2, num_heads=4, is_encoder_decoder=False
    )
    return UMT5EncoderModel(config)


def clip() -> Any:
    """Return a two-block ``CLIPVisionModel`` for pictures of 28 pixels."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": CLIP_WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    return CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=28, patch_size=14, hidden_act="gelu"))


def wan22_vae() -> Any:
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


def qwen_vae() -> Any:
    """Return an ``AutoencoderKLQwenImage``: 16 channels, stride 8."""
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def qwen_transformer(*, zero_time: bool = False) -> Any:
    """Return a two-block ``QwenImageTransformer2DModel``; ``zero_time`` as in Edit-2511."""
    from diffusers import QwenImageTransformer2DModel

    return QwenImageTransformer2DModel(
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=VL_WIDTH,
        axes_dims_rope=(16, 56, 56),
        zero_cond_t=zero_time,
    )


def qwen_vl() -> Any:
    """Return a ``Qwen2_5_VLModel`` of two language and two vision layers for :func:`byte_tokenizer`."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    from blissmask.families.encoders.qwen_vl import vl_config

    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    text = {"vocab_size": 320, "hidden_size": VL_WIDTH, "intermediate_size": 64, "num_hidden_layers": 4, **heads}
    vision = {"hidden_size": 80, "out_hidden_size": VL_WIDTH, "intermediate_size": 64, "depth": 2, "num_heads": 1}
    return Qwen2_5_VLModel(Qwen2_5_VLConfig(**vl_config(text, vision)))


def hunyuan_vae() -> Any:
    """Return an ``AutoencoderKLHunyuanVideo``: 16 channels, stride 8."""
    from diffusers import AutoencoderKLHunyuanVideo

    return AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1)


def llama() -> Any:
    """Return a four-layer ``LlamaModel`` for :func:`byte_tokenizer`."""
    from transformers import LlamaConfig, LlamaModel

    from blissmask.families.encoders.llama import LLAMA3

    sizes = {"vocab_size": 320, "hidden_size": VL_WIDTH, "intermediate_size": 64, "num_hidden_layers": 4}
    return LlamaModel(LlamaConfig(**sizes, num_attention_heads=1, num_key_value_heads=1, **LLAMA3))


def clip_text() -> Any:
    """Return a two-layer ``CLIPTextModel`` for :func:`byte_tokenizer`, whose end mark is token 1."""
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"vocab_size": 320, "hidden_size": CLIP_TEXT_WIDTH, "intermediate_size": 64, "num_hidden_layers": 2}
    return CLIPTextModel(
        CLIPTextConfig(**sizes, num_attention_heads=1, bos_token_id=None, eos_token_id=1, pad_token_id=0)
    )


def hunyuan_transformer() -> Any:
    """Return a ``HunyuanVideoTransformer3DModel`` of one double and one single block."""
    from diffusers import HunyuanVideoTransformer3DModel

    sizes = {
        "num_attention_heads": 1,
        "attention_head_dim": 128,
        "num_layers": 1,
        "num_single_layers": 1,
        "num_refiner_layers": 1,
    }
    return HunyuanVideoTransformer3DModel(**sizes, text_embed_dim=VL_WIDTH, pooled_projection_dim=CLIP_TEXT_WIDTH)


def hunyuan15_vae() -> Any:
    """Return an ``AutoencoderKLHunyuanVideo15``: 32 channels, stride 16."""
    from diffusers import AutoencoderKLHunyuanVideo15

    return AutoencoderKLHunyuanVideo15(block_out_channels=(8, 16, 32, 64, 64), layers_per_block=1)


def qwen_language() -> Any:
    """Return a four-layer ``Qwen2_5_VLTextModel`` for :func:`byte_tokenizer`."""
    return qwen_vl().language_model


def byt5() -> Any:
    """Return a two-block ``T5EncoderModel`` for ``ByT5Tokenizer``."""
    from transformers import T5Config, T5EncoderModel

    sizes = {"vocab_size": 384, "d_model": TEXT_WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return T5EncoderModel(T5Config(**sizes, feed_forward_proj="gated-gelu", is_encoder_decoder=False))


def siglip() -> Any:
    """Return a two-layer ``SiglipVisionModel`` for pictures of 28 pixels."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": SIGLIP_WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    return SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=28, patch_size=14))


def hunyuan15_transformer() -> Any:
    """Return a two-block ``HunyuanVideo15Transformer3DModel``."""
    from diffusers import HunyuanVideo15Transformer3DModel

    sizes = {"num_attention_heads": 1, "attention_head_dim": 128, "num_layers": 2, "num_refiner_layers": 1}
    return HunyuanVideo15Transformer3DModel(
        **sizes, text_embed_dim=VL_WIDTH, text_embed_2_dim=TEXT_WIDTH, image_embed_dim=SIGLIP_WIDTH
    )
