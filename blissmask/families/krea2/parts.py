"""The parts of Krea 2, the size of its denoiser from the shapes of tensors, and the wording around captions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.encoders import qwen3_vl
from blissmask.families.encoders.captions import TextReading
from blissmask.families.encoders.qwen_chat import captions_in_chat
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.krea2.names import rename_denoiser
from blissmask.families.qwen import templates as qwen

# 512 rows of a caption and of the tail of the template. Source of these and of the taps: diffusers' Krea2Pipeline.
CAPTIONS = captions_in_chat(qwen.GENERATE.system, tokens=512, keeps_tail=True)
TAPS = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35)
READING = TextReading(content="krea2_vl_embed", captions=CAPTIONS, taps=TAPS, joined=False)
TEMPLATE = (CAPTIONS.head, CAPTIONS.tail, f"{CAPTIONS.tokens} rows", f"taps {TAPS}")
"""Names the reading in fingerprints: with another one, the same weights give other rows."""


def denoiser_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Krea2Transformer2DModel`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind="Krea 2 denoiser")
    width, in_channels = shape("img_in.weight")
    block, text_block = "transformer_blocks.0", "text_fusion.layerwise_blocks.0"
    head, text_head = shape(f"{block}.attn.norm_q.weight")[0], shape(f"{text_block}.attn.norm_q.weight")[0]
    text_width = shape("txt_in.linear_1.weight")[1]
    return {
        "in_channels": in_channels,
        "num_layers": count_of(tensors, "transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "num_key_value_heads": shape(f"{block}.attn.to_k.weight")[0] // head,
        "intermediate_size": shape(f"{block}.ff.up.weight")[0],
        "timestep_embed_dim": shape("time_embed.linear_1.weight")[1],
        "text_hidden_dim": text_width,
        "num_text_layers": shape("text_fusion.projector.weight")[1],
        "text_num_attention_heads": text_width // text_head,
        "text_num_key_value_heads": shape(f"{text_block}.attn.to_k.weight")[0] // text_head,
        "text_intermediate_size": shape(f"{text_block}.ff.up.weight")[0],
        "num_layerwise_text_blocks": count_of(tensors, "text_fusion.layerwise_blocks."),
        "num_refiner_text_blocks": count_of(tensors, "text_fusion.refiner_blocks."),
        # 32, 48 and 48 of 128: a quarter for the picture's number, the rest for rows and columns.
        "axes_dims_rope": (head // 4, head * 3 // 8, head * 3 // 8),
    }


def _tiny() -> Any:
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


# All the layers of which states are kept, and one behind them.
TEXT_ENCODER = qwen3_vl.text_encoder("krea2", layers=TAPS[-1] + 1)
TOKENIZER = Tokenizer(encoder=TEXT_ENCODER, specials=CAPTIONS.specials)
DENOISER = Part(
    folder="transformer",
    field="dit",
    class_path="diffusers.Krea2Transformer2DModel",
    rename=rename_denoiser,
    config_of=denoiser_config,
    tiny=_tiny,
    tiny_name="krea2",
    # What diffusers' class builds by itself.
    published={},
)
