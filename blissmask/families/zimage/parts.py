"""The parts of Z-Image, and the size of the denoiser from the shapes of tensors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.encoders import qwen3
from blissmask.families.encoders.captions import TextReading
from blissmask.families.encoders.qwen_chat import captions_in_chat
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.vae import kl
from blissmask.families.vae.encoding import without_decoder
from blissmask.families.zimage import tiny
from blissmask.families.zimage.names import rename_denoiser

PATCH = 2
"""Latent cells along a side of a token."""
# 512 tokens of a caption with its template; the end is cut off, as in training of the model.
CAPTIONS = captions_in_chat(tokens=512, counts_head=True)
# The states before the last layer. Source: the Z-Image repository and diffusers' ZImagePipeline.
READING = TextReading(content="llm_embed", captions=CAPTIONS, taps=(-2,), keeps_head=True)
_IGNORED = ("norm_final.",)
"""ComfyUI's files hold a norm of this name that no code reads."""


def vae_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``AutoencoderKL`` that fit ``tensors``."""
    return {
        **kl.config_of(tensors, path),
        "scaling_factor": kl.FLUX_SCALE,
        "shift_factor": kl.FLUX_SHIFT,
        # From its size on, a picture is decoded in tiles where it must be.
        "sample_size": 1024,
    }


def denoiser_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``ZImageTransformer2DModel`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind="Z-Image denoiser")
    width, token = shape("all_x_embedder.2-1.weight")
    head = shape("layers.0.attention.norm_q.weight")[0]
    return {
        "in_channels": token // PATCH**2,
        "dim": width,
        "n_layers": count_of(tensors, "layers."),
        "n_refiner_layers": count_of(tensors, "noise_refiner."),
        "n_heads": width // head,
        "n_kv_heads": shape("layers.0.attention.to_k.weight")[0] // head,
        "cap_feat_dim": shape("cap_embedder.1.weight")[1],
        # 32, 48 and 48 of 128: a quarter for the place after the caption, the rest for rows and columns.
        "axes_dims": [head // 4, head * 3 // 8, head * 3 // 8],
        # Of the released configuration.
        "axes_lens": [1536, 512, 512],
    }


VAE = Part(
    folder="vae",
    field="vae",
    class_path="diffusers.AutoencoderKL",
    rename=kl.rename,
    config_of=vae_config,
    trim=kl.use_smaller_tiles,
    tiny=tiny.vae,
    tiny_name="z-image",
)
VAE_ENCODER = without_decoder(VAE)
TEXT_ENCODER = qwen3.text_encoder("z-image")
TOKENIZER = Tokenizer(encoder=TEXT_ENCODER, specials=CAPTIONS.specials)
DENOISER = Part(
    folder="transformer",
    field="dit",
    class_path="diffusers.ZImageTransformer2DModel",
    rename=rename_denoiser,
    config_of=denoiser_config,
    ignore=_IGNORED,
    tiny=tiny.denoiser,
    tiny_name="z-image",
    # What diffusers' class builds by itself.
    published={},
)
