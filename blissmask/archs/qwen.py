"""What Qwen-Image and its Edit models share: the VAE, Qwen2.5-VL and its tokenizer, each from a file, a folder or in miniature."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from blissmask.archs import tiny
from blissmask.archs.components import Component, tokenizer_folders, tokenizer_identity
from blissmask.archs.identity import joined_identity
from blissmask.archs.protocol import LatentSpec, ModelFiles
from blissmask.archs.qwen_denoiser import QwenDenoiser
from blissmask.archs.qwen_text import SPECIALS, ChatTemplate, QwenTextEncoder
from blissmask.archs.qwen_vl import drop_vision, load_qwen_vl
from blissmask.archs.tokenizers import load_tokenizer
from blissmask.archs.wan_latents import WanLatentEncoder
from blissmask.archs.wan_vae import load_vae

_TINY_PICTURE_AREA = 64 * 64
LATENT = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16)
VAE = Component(
    "vae", "vae", "diffusers.AutoencoderKLQwenImage", partial(load_vae, class_name="AutoencoderKLQwenImage"), tiny.qwen_vae, "qwen"
)


def load_latents(files: ModelFiles, *, device: torch.device, dtype: torch.dtype) -> WanLatentEncoder:
    """Load the VAE's encoder. Raises ModelError."""
    return WanLatentEncoder(VAE.load(files, device=device, dtype=dtype), LATENT, identity=VAE.identity(files))


def load_text_encoder(files: ModelFiles, template: ChatTemplate, *, device: torch.device, dtype: torch.dtype) -> QwenTextEncoder:
    """Load Qwen2.5-VL, with its vision tower only where the template shows pictures, and its tokenizer. Raises ModelError."""
    part = text_encoder_part(template)
    identity = text_encoder_identity(files, template)
    source = part.source(files)
    if source is None:
        tokenizer = tiny.byte_tokenizer(specials=SPECIALS, end=False)
        # A million pixels take a miniature's vision tower seconds each.
        template = replace(template, picture_area=_TINY_PICTURE_AREA)
    else:
        tokenizer = load_tokenizer(tokenizer_folders(files, part), part=part, needs=SPECIALS)
    model = part.load(files, device=device, dtype=dtype)
    if template.picture is None:
        drop_vision(model)
    return QwenTextEncoder(model, tokenizer, template, identity=identity)


def text_encoder_identity(files: ModelFiles, template: ChatTemplate) -> str:
    """Return the name of the weights, the tokenizer and the template by content."""
    part = text_encoder_part(template)
    words = [template.around("", 1), str(template.picture_area)]
    return joined_identity([part.identity(files), *tokenizer_identity(files, part), *words])


def load_denoiser(part: Component, files: ModelFiles, *, edits: bool, device: torch.device, dtype: torch.dtype) -> QwenDenoiser:
    """Load the denoiser. Raises ModelError."""
    return QwenDenoiser(part.load(files, device=device, dtype=dtype), identity=part.identity(files), dtype=dtype, edits=edits)


def text_encoder_part(template: ChatTemplate) -> Component:
    """Return where Qwen2.5-VL comes from; single files are read without the vision tower where the template shows no pictures."""
    load_file = partial(load_qwen_vl, vision=template.picture is not None)
    return Component("text_encoder", "text_encoder", "transformers.Qwen2_5_VLModel", load_file, tiny.qwen_vl, "qwen")
