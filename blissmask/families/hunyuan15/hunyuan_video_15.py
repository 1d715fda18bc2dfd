"""HunyuanVideo 1.5: text or image to video, stride 16."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from blissmask.families import tiny
from blissmask.families.family import Family
from blissmask.families.files.identity import joined_identity
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component, tokenizer_identity
from blissmask.families.files.tokenizers import tokenizer_of
from blissmask.families.protocol import LatentEncoder, LatentSpec
from blissmask.families.tasks import checked_task

if TYPE_CHECKING:
    import torch

    from blissmask.families.hunyuan15.denoiser import Hunyuan15Denoiser
    from blissmask.families.hunyuan15.text import Hunyuan15TextEncoder
    from blissmask.families.previews import Drawing

_VAE_CLASS = "AutoencoderKLHunyuanVideo15"
VAE = Component("vae", "vae", f"diffusers.{_VAE_CLASS}", tiny.hunyuan15_vae, "hunyuan15")
TEXT_ENCODER = Component(
    "text_encoder", "text_encoder", "transformers.Qwen2_5_VLTextModel", tiny.qwen_language, "hunyuan15"
)
TEXT_ENCODER_2 = Component("text_encoder_2", "text_encoder_2", "transformers.T5EncoderModel", tiny.byt5, "hunyuan15")
IMAGE_ENCODER = Component("image_encoder", "image_encoder", "transformers.SiglipVisionModel", tiny.siglip, "hunyuan15")
DENOISER = Component(
    "transformer", "dit", "diffusers.HunyuanVideo15Transformer3DModel", tiny.hunyuan15_transformer, "hunyuan-video-15"
)


@dataclass(frozen=True, kw_only=True)
class HunyuanVideo15Family(Family):
    """See :class:`blissmask.families.protocol.Architecture` for the attributes."""

    def load_latent_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> LatentEncoder:
        """Load the VAE's encoder, and SigLIP for image-to-video. Raises ModelError."""
        from blissmask.families.hunyuan.vae import HunyuanLatentEncoder, load_vae
        from blissmask.families.hunyuan15.image_to_video import Hunyuan15ImageToVideoEncoder
        from blissmask.families.hunyuan15.siglip import load_siglip

        identity = self.latent_encoder_identity(files, task=task)
        vae = VAE.load(files, partial(load_vae, class_name=_VAE_CLASS), device=device, dtype=dtype)
        encoder = HunyuanLatentEncoder(vae, self.latent, identity=identity)
        if checked_task(self, task) == "t2v":
            return encoder
        return Hunyuan15ImageToVideoEncoder(
            encoder, IMAGE_ENCODER.load(files, load_siglip, device=device, dtype=dtype), identity=identity
        )

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        if checked_task(self, task) == "t2v":
            return VAE.identity(files)
        return joined_identity([VAE.identity(files), IMAGE_ENCODER.identity(files)])

    def load_text_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> Hunyuan15TextEncoder:
        """Load Qwen2.5-VL's language half and byT5 with their tokenizers. Raises ModelError."""
        from transformers import ByT5Tokenizer

        from blissmask.families.encoders.qwen_vl import load_language_model
        from blissmask.families.encoders.t5 import load_byt5
        from blissmask.families.hunyuan15.text import SPECIALS, Hunyuan15TextEncoder

        return Hunyuan15TextEncoder(
            TEXT_ENCODER.load(files, load_language_model, device=device, dtype=dtype),
            tokenizer_of(TEXT_ENCODER, files, needs=SPECIALS),
            TEXT_ENCODER_2.load(files, load_byt5, device=device, dtype=dtype),
            # Bytes are its tokens: it needs no file.
            ByT5Tokenizer(),
            identity=self.text_encoder_identity(files, task=task),
        )

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights and tokenizers by content, without loading them."""
        checked_task(self, task)
        weights = [part.identity(files) for part in (TEXT_ENCODER, TEXT_ENCODER_2)]
        return joined_identity([*weights, *tokenizer_identity(files, TEXT_ENCODER)])

    def load_denoiser(
        self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype
    ) -> Hunyuan15Denoiser:
        """Load the denoiser. Raises ModelError."""
        from blissmask.families.hunyuan15.denoiser import Hunyuan15Denoiser, load_denoiser

        assert expert == ""
        return Hunyuan15Denoiser(
            DENOISER.load(files, load_denoiser, device=device, dtype=dtype),
            identity=DENOISER.identity(files),
            dtype=dtype,
            train_scale=self.latent.train_scale,
            shows_picture=checked_task(self, task) == "i2v",
        )

    def drawing(self, task: str = "") -> Drawing:
        """Return how previews are drawn."""
        from blissmask.families.hunyuan.preview import hunyuan15_drawing

        return hunyuan15_drawing(checked_task(self, task))


ARCHITECTURE = HunyuanVideo15Family(
    name="hunyuan-video-15",
    cache_suffix="hv15",
    metadata_name="hunyuan_video_1_5",
    tasks=("t2v", "i2v"),
    # The cached latents times the scale have the spread of noise. Source: the VAE's configuration.
    latent=LatentSpec(channels=32, spatial_stride=16, temporal_stride=4, grid_multiple=16, train_scale=1.03682),
    default_fps=24.0,
    # musubi-tuner's documentation trains with 2, though the released models sample with 5 to 9.
    default_shift=2.0,
    modelspec="hunyuan-video-1.5/lora",
)
