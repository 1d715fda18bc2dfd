"""What the Wan families share: the VAE, UMT5, CLIP and the denoiser, each from a file, a folder or in miniature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from blissmask.families import tiny
from blissmask.families.family import Family
from blissmask.families.files.identity import joined_identity
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component, text_identity, tokenizer_folders
from blissmask.families.protocol import Expert, LatentEncoder, LatentSpec
from blissmask.families.tasks import checked_task

if TYPE_CHECKING:
    import torch

    from blissmask.families.previews import Drawing
    from blissmask.families.wan.denoiser import WanDenoiser
    from blissmask.families.wan.text import Umt5TextEncoder

LATENT = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16)
VAE = Component("vae", "vae", "diffusers.AutoencoderKLWan", tiny.wan_vae, "wan")
TEXT_ENCODER = Component("text_encoder", "text_encoder", "transformers.UMT5EncoderModel", tiny.umt5, "wan")
IMAGE_ENCODER = Component("image_encoder", "image_encoder", "transformers.CLIPVisionModel", tiny.clip, "wan")
# 16 noisy channels, 4 of frame mask, 16 of the first frame.
_I2V_CHANNELS = 36


def load_text_encoder(files: ModelFiles, *, device: torch.device, dtype: torch.dtype) -> Umt5TextEncoder:
    """Load UMT5 and its tokenizer. Raises ModelError."""
    from blissmask.families.encoders.t5 import load_umt5
    from blissmask.families.wan.text import Umt5TextEncoder, load_tokenizer

    source = TEXT_ENCODER.source(files)
    tokenizer = (
        tiny.byte_tokenizer() if source is None else load_tokenizer(tokenizer_folders(files, TEXT_ENCODER), source)
    )
    model = TEXT_ENCODER.load(files, load_umt5, device=device, dtype=dtype)
    return Umt5TextEncoder(model, tokenizer, identity=text_identity(files, TEXT_ENCODER))


@dataclass(frozen=True, kw_only=True)
class WanFamily(Family):
    """A Wan family of stride 8; see :class:`blissmask.families.protocol.Architecture` for the other attributes.

    Attributes:
        boundaries: noise level of each task above which the high-noise expert works; empty for families with one
            denoiser.
        sees_clip: whether image-to-video uses CLIP features beside the latents (2.1 does, 2.2 does not).
    """

    cache_suffix: str = "wan"
    metadata_name: str = "wan"
    tasks: tuple[str, ...] = ("t2v", "i2v")
    latent: LatentSpec = LATENT
    default_fps: float = 16.0
    default_shift: float = 3.0
    boundaries: Mapping[str, float] = field(default_factory=dict)
    sees_clip: bool

    def experts(self, task: str) -> tuple[Expert, ...]:
        """Return the denoisers for ``task``."""
        boundary = self.boundaries.get(checked_task(self, task))
        if boundary is None:
            return super().experts(task)
        return (Expert("high", (boundary, 1.0)), Expert("low", (0.0, boundary)))

    def load_latent_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> LatentEncoder:
        """Load the VAE's encoder, and for Wan 2.1 image-to-video CLIP. Raises ModelError."""
        from blissmask.families.wan.clip import load_clip
        from blissmask.families.wan.image_to_video import WanImageToVideoEncoder
        from blissmask.families.wan.latents import WanLatentEncoder
        from blissmask.families.wan.vae import load_vae

        image_task = checked_task(self, task) != "t2v"
        identity = self.latent_encoder_identity(files, task=task)
        encoder = WanLatentEncoder(
            VAE.load(files, load_vae, device=device, dtype=dtype), self.latent, identity=identity
        )
        if not image_task:
            return encoder
        clip = IMAGE_ENCODER.load(files, load_clip, device=device, dtype=dtype) if self.sees_clip else None
        return WanImageToVideoEncoder(encoder, clip, identity=identity)

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        if checked_task(self, task) == "t2v" or not self.sees_clip:
            return VAE.identity(files)
        return joined_identity([VAE.identity(files), IMAGE_ENCODER.identity(files)])

    def load_text_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> Umt5TextEncoder:
        """Load UMT5 and its tokenizer, the same for every task. Raises ModelError."""
        checked_task(self, task)
        return load_text_encoder(files, device=device, dtype=dtype)

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return text_identity(files, TEXT_ENCODER)

    def load_denoiser(
        self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype
    ) -> WanDenoiser:
        """Load the denoiser of ``expert``. Raises ModelError."""
        from blissmask.families.wan.denoiser import WanDenoiser, load_denoiser

        part = self.denoiser(expert, task)
        return WanDenoiser(
            part.load(files, load_denoiser, device=device, dtype=dtype), identity=part.identity(files), dtype=dtype
        )

    def drawing(self, task: str = "") -> Drawing:
        """Return how previews are drawn."""
        from blissmask.families.wan.preview import wan_drawing

        return wan_drawing(self, checked_task(self, task))

    def denoiser(self, expert: str, task: str) -> Component:
        """Return where the denoiser of ``expert`` comes from; diffusers keeps the low-noise expert in ``transformer_2``."""
        image_task = checked_task(self, task) != "t2v"
        build = partial(
            tiny.wan_transformer,
            in_channels=_I2V_CHANNELS if image_task else self.latent.channels,
            image_dim=tiny.CLIP_WIDTH if image_task and self.sees_clip else None,
        )
        return Component(
            folder="transformer_2" if expert == "low" else "transformer",
            field="dit_high_noise" if expert == "high" else "dit",
            class_path="diffusers.WanTransformer3DModel",
            tiny=build,
            tiny_name=f"{self.name}-{checked_task(self, task)}",
        )
