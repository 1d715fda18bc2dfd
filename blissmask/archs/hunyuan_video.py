"""HunyuanVideo: text to video and images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from blissmask.archs import tiny
from blissmask.archs.clip_text import load_clip_text
from blissmask.archs.components import Component, tokenizer_folders, tokenizer_identity
from blissmask.archs.hunyuan_denoiser import HunyuanDenoiser, load_denoiser
from blissmask.archs.hunyuan_text import SPECIALS, HunyuanTextEncoder
from blissmask.archs.hunyuan_vae import HunyuanLatentEncoder, load_vae
from blissmask.archs.identity import joined_identity
from blissmask.archs.llama import load_llama
from blissmask.archs.protocol import Expert, LatentEncoder, LatentSpec, ModelFiles
from blissmask.archs.tasks import checked_task
from blissmask.archs.tokenizers import load_tokenizer

_VAE_CLASS = "AutoencoderKLHunyuanVideo"
VAE = Component("vae", "vae", f"diffusers.{_VAE_CLASS}", partial(load_vae, class_name=_VAE_CLASS), tiny.hunyuan_vae, "hunyuan")
TEXT_ENCODER = Component("text_encoder", "text_encoder", "transformers.LlamaModel", load_llama, tiny.llama, "hunyuan")
TEXT_ENCODER_2 = Component("text_encoder_2", "text_encoder_2", "transformers.CLIPTextModel", load_clip_text, tiny.clip_text, "hunyuan")
DENOISER = Component(
    "transformer", "dit", "diffusers.HunyuanVideoTransformer3DModel", load_denoiser, tiny.hunyuan_transformer, "hunyuan-video"
)
# The cached latents times this have the spread of noise. Source: the VAE's configuration.
_SCALE = 0.476986


@dataclass(frozen=True)
class HunyuanVideoFamily:
    """See :class:`blissmask.archs.protocol.Architecture` for the attributes."""

    name: str = "hunyuan-video"
    cache_suffix: str = "hv"
    metadata_name: str = "hunyuan_video"
    tasks: tuple[str, ...] = ("t2v",)
    latent: LatentSpec = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16, train_scale=_SCALE)  # noqa: RUF009
    default_fps: float = 24.0
    default_shift: float = 7.0
    modelspec: str = "hunyuan-video/lora"
    one_frame_tasks: tuple[str, ...] = ()
    control_range: tuple[int, int] = (0, 0)
    text_sees_controls: bool = False
    takes_videos: bool = True

    def experts(self, task: str) -> tuple[Expert, ...]:
        """Return the one denoiser."""
        checked_task(self, task)
        return (Expert("", (0.0, 1.0)),)

    def load_latent_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> LatentEncoder:
        """Load the VAE's encoder. Raises ModelError."""
        checked_task(self, task)
        return HunyuanLatentEncoder(VAE.load(files, device=device, dtype=dtype), self.latent, identity=VAE.identity(files))

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return VAE.identity(files)

    def load_text_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> HunyuanTextEncoder:
        """Load Llama and CLIP-L with their tokenizers. Raises ModelError."""
        if TEXT_ENCODER.source(files) is None:
            llama_tokenizer = tiny.byte_tokenizer(specials=SPECIALS, end=False)
        else:
            llama_tokenizer = load_tokenizer(tokenizer_folders(files, TEXT_ENCODER), part=TEXT_ENCODER, needs=SPECIALS)
        if TEXT_ENCODER_2.source(files) is None:
            clip_tokenizer = tiny.byte_tokenizer()
        else:
            clip_tokenizer = load_tokenizer(tokenizer_folders(files, TEXT_ENCODER_2), part=TEXT_ENCODER_2)
        return HunyuanTextEncoder(
            TEXT_ENCODER.load(files, device=device, dtype=dtype),
            llama_tokenizer,
            TEXT_ENCODER_2.load(files, device=device, dtype=dtype),
            clip_tokenizer,
            identity=self.text_encoder_identity(files, task=task),
        )

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights and tokenizers by content, without loading them."""
        checked_task(self, task)
        parts = (TEXT_ENCODER, TEXT_ENCODER_2)
        return joined_identity(name for part in parts for name in (part.identity(files), *tokenizer_identity(files, part)))

    def load_denoiser(self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype) -> HunyuanDenoiser:
        """Load the denoiser. Raises ModelError."""
        assert expert == ""
        checked_task(self, task)
        return HunyuanDenoiser(DENOISER.load(files, device=device, dtype=dtype), identity=DENOISER.identity(files), dtype=dtype)


ARCHITECTURE = HunyuanVideoFamily()
