"""Qwen-Image: text to image."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from blissmask.archs import qwen, tiny
from blissmask.archs.components import Component
from blissmask.archs.protocol import Expert, LatentEncoder, LatentSpec, ModelFiles
from blissmask.archs.qwen_denoiser import QwenDenoiser, load_denoiser
from blissmask.archs.qwen_text import GENERATE, QwenTextEncoder
from blissmask.archs.tasks import checked_task

DENOISER = Component("transformer", "dit", "diffusers.QwenImageTransformer2DModel", load_denoiser, tiny.qwen_transformer, "qwen-image")


@dataclass(frozen=True)
class QwenImageFamily:
    """See :class:`blissmask.archs.protocol.Architecture` for the attributes."""

    name: str = "qwen-image"
    cache_suffix: str = "qi"
    metadata_name: str = "qwen_image"
    tasks: tuple[str, ...] = ("t2i",)
    latent: LatentSpec = qwen.LATENT
    default_fps: float = 16.0
    default_shift: float = 2.2
    modelspec: str = "Qwen-Image/lora"
    one_frame_tasks: tuple[str, ...] = ()
    control_range: tuple[int, int] = (0, 0)
    text_sees_controls: bool = False
    takes_videos: bool = False

    def experts(self, task: str) -> tuple[Expert, ...]:
        """Return the one denoiser."""
        checked_task(self, task)
        return (Expert("", (0.0, 1.0)),)

    def load_latent_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> LatentEncoder:
        """Load the VAE's encoder. Raises ModelError."""
        checked_task(self, task)
        return qwen.load_latents(files, device=device, dtype=dtype)

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return qwen.VAE.identity(files)

    def load_text_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> QwenTextEncoder:
        """Load Qwen2.5-VL's language half and its tokenizer. Raises ModelError."""
        checked_task(self, task)
        return qwen.load_text_encoder(files, GENERATE, device=device, dtype=dtype)

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of weights, tokenizer and template by content, without loading them."""
        checked_task(self, task)
        return qwen.text_encoder_identity(files, GENERATE)

    def load_denoiser(self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype) -> QwenDenoiser:
        """Load the denoiser. Raises ModelError."""
        assert expert == ""
        checked_task(self, task)
        return qwen.load_denoiser(DENOISER, files, edits=False, device=device, dtype=dtype)


ARCHITECTURE = QwenImageFamily()
