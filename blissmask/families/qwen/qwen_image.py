"""Qwen-Image: text to image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blissmask.families import tiny
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component
from blissmask.families.protocol import LatentEncoder
from blissmask.families.qwen import family
from blissmask.families.qwen.templates import GENERATE
from blissmask.families.tasks import checked_task

if TYPE_CHECKING:
    import torch

    from blissmask.families.previews import Drawing
    from blissmask.families.qwen.denoiser import QwenDenoiser
    from blissmask.families.qwen.text import QwenTextEncoder

DENOISER = Component("transformer", "dit", "diffusers.QwenImageTransformer2DModel", tiny.qwen_transformer, "qwen-image")


@dataclass(frozen=True, kw_only=True)
class QwenImageFamily(family.QwenFamily):
    """See :class:`blissmask.families.protocol.Architecture` for the attributes."""

    def load_latent_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> LatentEncoder:
        """Load the VAE's encoder. Raises ModelError."""
        checked_task(self, task)
        return family.load_latents(files, device=device, dtype=dtype)

    def load_text_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> QwenTextEncoder:
        """Load Qwen2.5-VL's language half and its tokenizer. Raises ModelError."""
        checked_task(self, task)
        return family.load_text_encoder(files, GENERATE, device=device, dtype=dtype)

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of weights, tokenizer and template by content, without loading them."""
        checked_task(self, task)
        return family.text_encoder_identity(files, GENERATE)

    def load_denoiser(
        self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype
    ) -> QwenDenoiser:
        """Load the denoiser. Raises ModelError."""
        assert expert == ""
        checked_task(self, task)
        return family.load_denoiser(DENOISER, files, edits=False, device=device, dtype=dtype)

    def drawing(self, task: str = "") -> Drawing:
        """Return how previews are drawn."""
        from blissmask.families.qwen.preview import qwen_drawing

        checked_task(self, task)
        return qwen_drawing()


ARCHITECTURE = QwenImageFamily(name="qwen-image", cache_suffix="qi", tasks=("t2i",), modelspec="Qwen-Image/lora")
