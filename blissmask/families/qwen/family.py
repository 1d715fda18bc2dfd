"""What Qwen-Image and its Edit models share: the VAE, Qwen2.5-VL and its tokenizer, each from a file, a folder or in miniature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from blissmask.families import tiny
from blissmask.families.family import Family
from blissmask.families.files.identity import joined_identity
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component, tokenizer_identity
from blissmask.families.files.tokenizers import tokenizer_of
from blissmask.families.protocol import LatentSpec
from blissmask.families.qwen.templates import SPECIALS, ChatTemplate
from blissmask.families.tasks import checked_task

if TYPE_CHECKING:
    import torch

    from blissmask.families.qwen.denoiser import QwenDenoiser
    from blissmask.families.qwen.text import QwenTextEncoder
    from blissmask.families.wan.latents import WanLatentEncoder

LATENT = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16)
VAE = Component("vae", "vae", "diffusers.AutoencoderKLQwenImage", tiny.qwen_vae, "qwen")
TEXT_ENCODER = Component("text_encoder", "text_encoder", "transformers.Qwen2_5_VLModel", tiny.qwen_vl, "qwen")
_TINY_PICTURE_AREA = 64 * 64


@dataclass(frozen=True, kw_only=True)
class QwenFamily(Family):
    """What the families of Qwen-Image have alike; see :class:`blissmask.families.protocol.Architecture` for the attributes."""

    # As musubi-tuner writes it; only the suffix tells edit caches apart.
    metadata_name: str = "qwen_image"
    latent: LatentSpec = LATENT
    default_fps: float = 16.0
    default_shift: float = 2.2
    takes_videos: bool = False

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return VAE.identity(files)


def load_latents(files: ModelFiles, *, device: torch.device, dtype: torch.dtype) -> WanLatentEncoder:
    """Load the VAE's encoder. Raises ModelError."""
    from blissmask.families.wan.latents import WanLatentEncoder
    from blissmask.families.wan.vae import load_vae

    vae = VAE.load(files, partial(load_vae, class_name="AutoencoderKLQwenImage"), device=device, dtype=dtype)
    return WanLatentEncoder(vae, LATENT, identity=VAE.identity(files))


def load_text_encoder(
    files: ModelFiles, template: ChatTemplate, *, device: torch.device, dtype: torch.dtype
) -> QwenTextEncoder:
    """Load Qwen2.5-VL, with its vision tower only where the template shows pictures, and its tokenizer.

    Raises ModelError.
    """
    from blissmask.families.encoders.qwen_vl import drop_vision, load_qwen_vl
    from blissmask.families.qwen.text import QwenTextEncoder

    identity = text_encoder_identity(files, template)
    tokenizer = tokenizer_of(TEXT_ENCODER, files, needs=SPECIALS)
    model = TEXT_ENCODER.load(
        files, partial(load_qwen_vl, vision=template.picture is not None), device=device, dtype=dtype
    )
    if template.picture is None:
        drop_vision(model)
    if TEXT_ENCODER.source(files) is None:
        # A million pixels take a miniature's vision tower seconds each.
        template = replace(template, picture_area=_TINY_PICTURE_AREA)
    return QwenTextEncoder(model, tokenizer, template, identity=identity)


def text_encoder_identity(files: ModelFiles, template: ChatTemplate) -> str:
    """Return the name of the weights, the tokenizer and the template by content."""
    words = [template.around("", 1), str(template.picture_area)]
    return joined_identity([TEXT_ENCODER.identity(files), *tokenizer_identity(files, TEXT_ENCODER), *words])


def load_denoiser(
    part: Component,
    files: ModelFiles,
    *,
    edits: bool,
    device: torch.device,
    dtype: torch.dtype,
    zero_time: bool | None = None,
) -> QwenDenoiser:
    """Load the denoiser; ``zero_time`` as for ``qwen_denoiser.load_denoiser``. Raises ModelError."""
    from blissmask.families.qwen import denoiser

    module = part.load(files, partial(denoiser.load_denoiser, zero_time=zero_time), device=device, dtype=dtype)
    return denoiser.QwenDenoiser(module, identity=part.identity(files), dtype=dtype, edits=edits)
