"""The configuration of full-size models is read from the shapes of their files alone; nothing of their size is allocated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blissmask.families.encoders import llama, qwen_vl, t5
from blissmask.families.files.loading import build_empty
from blissmask.families.files.stored_tensors import StoredTensor
from blissmask.families.hunyuan import clip_text
from blissmask.families.hunyuan import denoiser as hunyuan_denoiser
from blissmask.families.hunyuan import vae as hunyuan_vae
from blissmask.families.hunyuan15 import denoiser as hunyuan15_denoiser
from blissmask.families.hunyuan15 import siglip
from blissmask.families.qwen import denoiser as qwen_denoiser
from blissmask.families.wan import clip
from blissmask.families.wan import denoiser as wan_denoiser
from blissmask.families.wan import vae as wan_vae

WAN_14B = {"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824, "num_layers": 40, "text_dim": 4096}
WAN_5B = {"num_attention_heads": 24, "attention_head_dim": 128, "ffn_dim": 14336, "num_layers": 30, "text_dim": 4096}


def stored_shapes(module) -> dict[str, StoredTensor]:
    return {key: StoredTensor(tuple(value.shape), torch.Tensor) for key, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("class_name", "sizes", "config_of"),
    [
        ("WanTransformer3DModel", {**WAN_14B, "in_channels": 16}, wan_denoiser.config_of),
        (
            "WanTransformer3DModel",
            {**WAN_14B, "in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120},
            wan_denoiser.config_of,
        ),
        ("WanTransformer3DModel", {**WAN_5B, "in_channels": 48, "out_channels": 48}, wan_denoiser.config_of),
        ("QwenImageTransformer2DModel", {}, qwen_denoiser.config_of),
        ("HunyuanVideoTransformer3DModel", {}, hunyuan_denoiser.config_of),
        ("HunyuanVideo15Transformer3DModel", {}, hunyuan15_denoiser.config_of),
        ("AutoencoderKLWan", {}, wan_vae.config_of),
        ("AutoencoderKLQwenImage", {}, wan_vae.config_of),
        ("AutoencoderKLHunyuanVideo", {}, hunyuan_vae.config_of),
        ("AutoencoderKLHunyuanVideo15", {}, hunyuan_vae.config_of),
    ],
)
def test_diffusers_models_are_rebuilt_from_their_shapes(class_name: str, sizes: dict, config_of):
    import diffusers

    made = build_empty(lambda: getattr(diffusers, class_name)(**sizes))
    read = config_of(stored_shapes(made), Path("file"))
    for key, value in read.items():
        assert made.config[key] == value or tuple(made.config[key]) == tuple(value), key
    again = build_empty(lambda: getattr(diffusers, class_name)(**read))
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in made.state_dict().items()
    }


TRANSFORMERS = {
    "umt5-xxl": (
        "UMT5EncoderModel",
        "UMT5Config",
        {
            "vocab_size": 256384,
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "is_encoder_decoder": False,
            "num_layers": 24,
            "num_heads": 64,
        },
        t5.config_of,
    ),
    "byt5-small": (
        "T5EncoderModel",
        "T5Config",
        {
            "vocab_size": 1510,
            "d_model": 1472,
            "d_kv": 64,
            "d_ff": 3584,
            "is_encoder_decoder": False,
            "num_layers": 12,
            "num_heads": 6,
            "feed_forward_proj": "gated-gelu",
        },
        t5.config_of,
    ),
    "llama-3-8b": (
        "LlamaModel",
        "LlamaConfig",
        {
            "vocab_size": 128320,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            **llama.LLAMA3,
        },
        llama.config_of,
    ),
    "clip-l": (
        "CLIPTextModel",
        "CLIPTextConfig",
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        clip_text.config_of,
    ),
    "clip-vit-h": (
        "CLIPVisionModel",
        "CLIPVisionConfig",
        {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
            "hidden_act": "gelu",
        },
        clip.config_of,
    ),
    "siglip-so400m": (
        "SiglipVisionModel",
        "SiglipVisionConfig",
        {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 384,
            "patch_size": 14,
        },
        siglip.config_of,
    ),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_models_are_rebuilt_from_their_shapes(name: str):
    import transformers

    class_name, config_name, sizes, config_of = TRANSFORMERS[name]
    made = build_empty(lambda: getattr(transformers, class_name)(getattr(transformers, config_name)(**sizes)))
    tensors = {
        key.removeprefix("vision_model.").removeprefix("text_model."): value
        for key, value in stored_shapes(made).items()
    }
    read = config_of(tensors, Path("file"))
    for key, value in read.items():
        assert getattr(made.config, key) == value, key


def test_qwen_vl_7b_is_rebuilt_from_its_shapes():
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    text = {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    }
    vision = {"hidden_size": 1280, "out_hidden_size": 3584, "intermediate_size": 3420, "depth": 32, "num_heads": 16}
    made = build_empty(lambda: Qwen2_5_VLModel(Qwen2_5_VLConfig(**qwen_vl.vl_config(text, vision))))
    read = qwen_vl.config_of(stored_shapes(made), Path("file"))
    assert read == qwen_vl.vl_config(text, vision)
    assert read["vision_config"]["fullatt_block_indexes"] == [7, 15, 23, 31]
