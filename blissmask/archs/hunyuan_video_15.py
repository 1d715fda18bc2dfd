"""HunyuanVideo 1.5: text or image to video, stride 16."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from blissmask.archs import tiny
from blissmask.archs.components import Component, tokenizer_folders, tokenizer_identity
from blissmask.archs.hunyuan15_denoiser import Hunyuan15Denoiser, load_denoiser
from blissmask.archs.hunyuan15_latents import Hunyuan15ImageToVideoEncoder
from blissmask.archs.hunyuan15_text import SPECIALS, Hunyuan15TextEncoder
from blissmask.archs.hunyuan_vae import HunyuanLatentEncoder, load_vae
from blissmask.archs.identity import joined_identity
from blissmask.archs.protocol import Expert, LatentEncoder, LatentSpec, ModelFiles
from blissmask.archs.qwen_vl import load_qwen_vl
from blissmask.archs.siglip import load_siglip
from blissmask.archs.t5 import load_byt5
from blissmask.archs.tasks import checked_task
from blissmask.archs.tokenizers import load_tokenizer


def _load_language_model(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    module = load_qwen_vl(path, device=device, dtype=dtype, vision=False).language_model
    assert isinstance(module, nn.Module)
    return module


_VAE_CLASS = "AutoencoderKLHunyuanVideo15"
VAE = Component("vae", "vae", f"diffusers.{_VAE_CLASS}", partial(load_vae, class_name=_VAE_CLASS), tiny.hunyuan15_vae, "hunyuan15")
TEXT_ENCODER = Component(
    "text_encoder", "text_encoder", "transformers.Qwen2_5_VLTextModel", _load_language_model, tiny.qwen_language, "hunyuan15"
)
TEXT_ENCODER_2 = Component("text_encoder_2", "text_encoder_2", "transformers.T5EncoderModel", load_byt5, tiny.byt5, "hunyuan15")
IMAGE_ENCODER = Component("image_encoder", "image_encoder", "transformers.SiglipVisionModel", load_siglip, tiny.siglip, "hunyuan15")
DENOISER = Component(
    "transformer", "dit", "diffusers.HunyuanVideo15Transformer3DModel", load_denoiser, tiny.hunyuan15_transformer, "hunyuan-video-15"
)
# The cached latents times this have the spread of noise. Source: the VAE's configuration.
_SCALE = 1.03682


@dataclass(frozen=True)
class HunyuanVideo15Family:
    """See :class:`blissmask.archs.protocol.Architecture` for the attributes."""

    name: str = "hunyuan-video-15"
    cache_suffix: str = "hv15"
    metadata_name: str = "hunyuan_video_1_5"
    tasks: tuple[str, ...] = ("t2v", "i2v")
    latent: LatentSpec = LatentSpec(channels=32, spatial_stride=16, temporal_stride=4, grid_multiple=16, train_scale=_SCALE)  # noqa: RUF009
    default_fps: float = 24.0
    # musubi-tuner's documentation trains with 2, though the released models sample with 5 to 9.
    default_shift: float = 2.0
    modelspec: str = "hunyuan-video-1.5/lora"
    one_frame_tasks: tuple[str, ...] = ()
    control_range: tuple[int, int] = (0, 0)
    text_sees_controls: bool = False
    takes_videos: bool = True

    def experts(self, task: str) -> tuple[Expert, ...]:
        """Return the one denoiser."""
        checked_task(self, task)
        return (Expert("", (0.0, 1.0)),)

    def load_latent_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> LatentEncoder:
        """Load the VAE's encoder, and SigLIP for image-to-video. Raises ModelError."""
        identity = self.latent_encoder_identity(files, task=task)
        encoder = HunyuanLatentEncoder(VAE.load(files, device=device, dtype=dtype), self.latent, identity=identity)
        if checked_task(self, task) == "t2v":
            return encoder
        return Hunyuan15ImageToVideoEncoder(encoder, IMAGE_ENCODER.load(files, device=device, dtype=dtype), identity=identity)

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        if checked_task(self, task) == "t2v":
            return VAE.identity(files)
        return joined_identity([VAE.identity(files), IMAGE_ENCODER.identity(files)])

    def load_text_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> Hunyuan15TextEncoder:
        """Load Qwen2.5-VL's language half and byT5 with their tokenizers. Raises ModelError."""
        from transformers import ByT5Tokenizer

        if TEXT_ENCODER.source(files) is None:
            qwen_tokenizer = tiny.byte_tokenizer(specials=SPECIALS, end=False)
        else:
            qwen_tokenizer = load_tokenizer(tokenizer_folders(files, TEXT_ENCODER), part=TEXT_ENCODER, needs=SPECIALS)
        return Hunyuan15TextEncoder(
            TEXT_ENCODER.load(files, device=device, dtype=dtype),
            qwen_tokenizer,
            TEXT_ENCODER_2.load(files, device=device, dtype=dtype),
            # Bytes are its tokens: it needs no file.
            ByT5Tokenizer(),
            identity=self.text_encoder_identity(files, task=task),
        )

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights and tokenizers by content, without loading them."""
        checked_task(self, task)
        weights = [part.identity(files) for part in (TEXT_ENCODER, TEXT_ENCODER_2)]
        return joined_identity([*weights, *tokenizer_identity(files, TEXT_ENCODER)])

    def load_denoiser(self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype) -> Hunyuan15Denoiser:
        """Load the denoiser. Raises ModelError."""
        assert expert == ""
        return Hunyuan15Denoiser(
            DENOISER.load(files, device=device, dtype=dtype),
            identity=DENOISER.identity(files),
            dtype=dtype,
            train_scale=self.latent.train_scale,
            shows_picture=checked_task(self, task) == "i2v",
        )


ARCHITECTURE = HunyuanVideo15Family()
