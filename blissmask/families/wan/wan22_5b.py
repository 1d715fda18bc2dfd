"""Wan 2.2 TI2V-5B: text or image to video, stride 16."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from blissmask.families import tiny
from blissmask.families.family import Family
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component, text_identity
from blissmask.families.protocol import LatentEncoder, LatentSpec
from blissmask.families.tasks import checked_task
from blissmask.families.wan.family import TEXT_ENCODER, load_text_encoder

if TYPE_CHECKING:
    import torch

    from blissmask.families.previews import Drawing
    from blissmask.families.wan.first_frame import Wan5bDenoiser
    from blissmask.families.wan.text import Umt5TextEncoder

VAE = Component("vae", "vae", "diffusers.AutoencoderKLWan", tiny.wan22_vae, "wan22-5b")
DENOISER = Component(
    "transformer",
    "dit",
    "diffusers.WanTransformer3DModel",
    partial(tiny.wan_transformer, in_channels=48, out_channels=48),
    "wan22-5b",
)


@dataclass(frozen=True, kw_only=True)
class Wan5bFamily(Family):
    """See :class:`blissmask.families.protocol.Architecture` for the attributes."""

    def shown_frames(self, task: str) -> int:
        """Return 1 for image-to-video: the first latent frame is the picture, in the place of a noisy one."""
        return 1 if checked_task(self, task) == "i2v" else 0

    def load_latent_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> LatentEncoder:
        """Load the VAE's encoder. Raises ModelError."""
        from blissmask.families.wan.first_frame import FirstFrameEncoder
        from blissmask.families.wan.latents import WanLatentEncoder
        from blissmask.families.wan.vae import load_vae

        vae = VAE.load(files, load_vae, device=device, dtype=dtype)
        encoder = WanLatentEncoder(vae, self.latent, identity=self.latent_encoder_identity(files))
        return FirstFrameEncoder(encoder) if checked_task(self, task) == "i2v" else encoder

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return VAE.identity(files)

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
    ) -> Wan5bDenoiser:
        """Load the denoiser. Raises ModelError."""
        from blissmask.families.wan.denoiser import WanDenoiser, load_denoiser
        from blissmask.families.wan.first_frame import Wan5bDenoiser

        assert expert == ""
        module = DENOISER.load(files, load_denoiser, device=device, dtype=dtype)
        wan = WanDenoiser(module, identity=DENOISER.identity(files), dtype=dtype)
        return Wan5bDenoiser(wan, task=checked_task(self, task))

    def drawing(self, task: str = "") -> Drawing:
        """Return how previews are drawn."""
        from blissmask.families.wan.preview import wan_5b_drawing

        return wan_5b_drawing(checked_task(self, task))


ARCHITECTURE = Wan5bFamily(
    name="wan22-5b",
    # Other latents than every other Wan's, so a name of its own; musubi-tuner has none.
    cache_suffix="wan5b",
    metadata_name="wan22_5b",
    tasks=("t2v", "i2v"),
    latent=LatentSpec(channels=48, spatial_stride=16, temporal_stride=4, grid_multiple=32),
    default_fps=24.0,
    default_shift=5.0,
    modelspec="wan2.2-5b/lora",
)
