"""HunyuanVideo: text to video and images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from blissmask.families import tiny
from blissmask.families.family import Family
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component, text_identity
from blissmask.families.files.tokenizers import tokenizer_of
from blissmask.families.protocol import LatentEncoder, LatentSpec
from blissmask.families.tasks import checked_task

if TYPE_CHECKING:
    import torch

    from blissmask.families.hunyuan.denoiser import HunyuanDenoiser
    from blissmask.families.hunyuan.text import HunyuanTextEncoder
    from blissmask.families.previews import Drawing

_VAE_CLASS = "AutoencoderKLHunyuanVideo"
VAE = Component("vae", "vae", f"diffusers.{_VAE_CLASS}", tiny.hunyuan_vae, "hunyuan")
TEXT_ENCODER = Component("text_encoder", "text_encoder", "transformers.LlamaModel", tiny.llama, "hunyuan")
TEXT_ENCODER_2 = Component("text_encoder_2", "text_encoder_2", "transformers.CLIPTextModel", tiny.clip_text, "hunyuan")
DENOISER = Component(
    "transformer", "dit", "diffusers.HunyuanVideoTransformer3DModel", tiny.hunyuan_transformer, "hunyuan-video"
)


@dataclass(frozen=True, kw_only=True)
class HunyuanVideoFamily(Family):
    """See :class:`blissmask.families.protocol.Architecture` for the attributes."""

    def load_latent_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> LatentEncoder:
        """Load the VAE's encoder. Raises ModelError."""
        from blissmask.families.hunyuan.vae import HunyuanLatentEncoder, load_vae

        checked_task(self, task)
        vae = VAE.load(files, partial(load_vae, class_name=_VAE_CLASS), device=device, dtype=dtype)
        return HunyuanLatentEncoder(vae, self.latent, identity=VAE.identity(files))

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return VAE.identity(files)

    def load_text_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> HunyuanTextEncoder:
        """Load Llama and CLIP-L with their tokenizers. Raises ModelError."""
        from blissmask.families.encoders.llama import load_llama
        from blissmask.families.hunyuan.clip_text import load_clip_text
        from blissmask.families.hunyuan.text import SPECIALS, HunyuanTextEncoder

        return HunyuanTextEncoder(
            TEXT_ENCODER.load(files, load_llama, device=device, dtype=dtype),
            tokenizer_of(TEXT_ENCODER, files, needs=SPECIALS),
            TEXT_ENCODER_2.load(files, load_clip_text, device=device, dtype=dtype),
            tokenizer_of(TEXT_ENCODER_2, files),
            identity=self.text_encoder_identity(files, task=task),
        )

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights and tokenizers by content, without loading them."""
        checked_task(self, task)
        return text_identity(files, TEXT_ENCODER, TEXT_ENCODER_2)

    def load_denoiser(
        self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype
    ) -> HunyuanDenoiser:
        """Load the denoiser. Raises ModelError."""
        from blissmask.families.hunyuan.denoiser import HunyuanDenoiser, load_denoiser

        assert expert == ""
        checked_task(self, task)
        module = DENOISER.load(files, load_denoiser, device=device, dtype=dtype)
        return HunyuanDenoiser(module, identity=DENOISER.identity(files), dtype=dtype)

    def drawing(self, task: str = "") -> Drawing:
        """Return how previews are drawn."""
        from blissmask.families.hunyuan.preview import hunyuan_drawing

        checked_task(self, task)
        return hunyuan_drawing()


ARCHITECTURE = HunyuanVideoFamily(
    name="hunyuan-video",
    cache_suffix="hv",
    metadata_name="hunyuan_video",
    tasks=("t2v",),
    # The cached latents times the scale have the spread of noise. Source: the VAE's configuration.
    latent=LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16, train_scale=0.476986),
    default_fps=24.0,
    default_shift=7.0,
    modelspec="hunyuan-video/lora",
)
