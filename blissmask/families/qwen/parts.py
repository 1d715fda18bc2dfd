"""The parts of Qwen-Image and its Edit models, and the size of the denoiser from the shapes of tensors."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError
from blissmask.families.encoders import qwen_vl
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.qwen import tiny
from blissmask.families.qwen.templates import SPECIALS
from blissmask.families.vae.encoding import without_decoder
from blissmask.families.wan.names import rename_vae
from blissmask.families.wan.vae_sizes import vae_config

PATCH = 2
"""Latent cells along a side of a token."""
CONTROL_RANGE = (1, 8)
"""Fewest and most control pictures of an Edit model."""
# Files of Qwen-Image-Edit-2511 carry an empty tensor of this name: their control pictures get timestep 0.
_ZERO_TIME_MARKER = "__index_timestep_zero__"


def denoiser_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``QwenImageTransformer2DModel`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind="Qwen-Image denoiser")
    width, in_channels = shape("img_in.weight")
    head = shape("transformer_blocks.0.attn.norm_q.weight")[0]
    return {
        "patch_size": PATCH,
        "in_channels": in_channels,
        "out_channels": shape("proj_out.weight")[0] // PATCH**2,
        "num_layers": count_of(tensors, "transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shape("txt_in.weight")[1],
        # 16, 56 and 56 of 128: an eighth for the picture's number, the rest for rows and columns.
        "axes_dims_rope": (head // 8, head * 7 // 16, head * 7 // 16),
    }


def _config_of_2511(tensors: Tensors, path: Path) -> dict[str, Any]:
    return {**denoiser_config(tensors, path), "zero_cond_t": True}


def _refuse_2511(tensors: Tensors, path: Path) -> None:
    if _ZERO_TIME_MARKER in tensors:
        raise ModelError("the file is marked as Qwen-Image-Edit-2511", where=[path], fix="use `--task edit-2511`")


VAE = Part(
    folder="vae",
    field="vae",
    class_path="diffusers.AutoencoderKLQwenImage",
    rename=rename_vae,
    config_of=vae_config,
    tiny=tiny.vae,
    tiny_name="qwen",
)
VAE_ENCODER = without_decoder(VAE)
TEXT_ENCODER = Part(
    folder="text_encoder",
    field="text_encoder",
    class_path="transformers.Qwen2_5_VLModel",
    rename=qwen_vl.in_transformers_names,
    config_of=qwen_vl.config_of,
    ignore=(qwen_vl.HEAD,),
    tiny=tiny.text_encoder,
    tiny_name="qwen",
)
BLIND_TEXT_ENCODER = replace(TEXT_ENCODER, trim=qwen_vl.drop_vision, ignore=(qwen_vl.HEAD, qwen_vl.VISION))
"""The text encoder without its vision tower, for captions that are encoded without pictures."""
TOKENIZER = Tokenizer(encoder=TEXT_ENCODER, specials=SPECIALS)
# Diffusers names, with or without ComfyUI's prefix, fp8 included.
DENOISER = Part(
    folder="transformer",
    field="dit",
    class_path="diffusers.QwenImageTransformer2DModel",
    config_of=denoiser_config,
    ignore=(_ZERO_TIME_MARKER,),
    tiny=tiny.denoiser,
    tiny_name="qwen-image",
    # What diffusers' class builds by itself.
    published={},
)
EDIT = replace(DENOISER, tiny_name="qwen-image-edit-edit", check_tensors=_refuse_2511)
EDIT_2509 = replace(DENOISER, tiny_name="qwen-image-edit-edit-2509", check_tensors=_refuse_2511)
EDIT_2511 = replace(DENOISER, tiny_name="qwen-image-edit-edit-2511", tiny=tiny.denoiser_2511, config_of=_config_of_2511)
