"""HunyuanVideo: text to video and images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from blissmask.archs import tiny
from blissmask.archs.clip_text import load_clip_text
from blissmask.archs.components import Component, tokenizer_folders
from blissmask.archs.hunyuan_denoiser import HunyuanDenoiser, load_denoiser
from blissmask.archs.hunyuan_text import SPECIALS, HunyuanTextEncoder
from blissmask.archs.hunyuan_vae import HunyuanLatentEncoder, load_vae
from blissmask.archs.identity import joined_identity, path_identity
from blissmask.archs.llama import load_llama
from blissmask.archs.protocol import Expert, LatentEncoder, LatentSpec, ModelFiles
from blissmask.archs.tasks import checked_task
from blissmask.archs.tokenizers import load_tokenizer

_VAE_CLASS = "AutoencoderKLHunyuanVideo"
_VAE = Component("vae", "vae", f"diffusers.{_VAE_CLASS}", partial(load_vae, class_name=_VAE_CLASS), tiny.hunyuan_vae, "hunyuan")
_LLAMA = Component("text_encoder", "text_encoder", "transformers.LlamaModel", load_llama, tiny.llama, "hunyuan")
_CLIP = Component("text_encoder_2", "text_encoder_2", "transformers.CLIPTextModel", load_clip_text, tiny.clip_text, "hunyuan")
_DENOISER = Component(
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
        return HunyuanLatentEncoder(_VAE.load(files, device=device, dtype=dtype), self.latent, identity=_VAE.identity(files))

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return _VAE.identity(files)

    def load_text_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> HunyuanTextEncoder:
        """Load Llama and CLIP-L with their tokenizers. Raises ModelError."""
        if _LLAMA.source(files) is None:
            llama_tokenizer = tiny.byte_tokenizer(specials=SPECIALS, end=False)
        else:
            llama_tokenizer = load_tokenizer(tokenizer_folders(files, _LLAMA), part=_LLAMA, needs=SPECIALS)
        if _CLIP.source(files) is None:
            clip_tokenizer = tiny.byte_tokenizer()
        else:
            clip_tokenizer = load_tokenizer(tokenizer_folders(files, _CLIP), part=_CLIP)
        return HunyuanTextEncoder(
            _LLAMA.load(files, device=device, dtype=dtype),
            llama_tokenizer,
            _CLIP.load(files, device=device, dtype=dtype),
            clip_tokenizer,
            identity=self.text_encoder_identity(files, task=task),
        )

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights and tokenizers by content, without loading them."""
        checked_task(self, task)
        tokenizers = [path_identity(path) for path in (files.tokenizer, files.tokenizer_2) if path]
        return joined_identity([_LLAMA.identity(files), _CLIP.identity(files), *tokenizers])

    def load_denoiser(self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype) -> HunyuanDenoiser:
        """Load the denoiser. Raises ModelError."""
        assert expert == ""
        checked_task(self, task)
        return HunyuanDenoiser(_DENOISER.load(files, device=device, dtype=dtype), identity=_DENOISER.identity(files), dtype=dtype)


ARCHITECTURE = HunyuanVideoFamily()
