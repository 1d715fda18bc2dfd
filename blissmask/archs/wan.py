"""What the Wan families share: the VAE, UMT5, CLIP and the denoiser, each from a file, a folder or in miniature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from blissmask.archs import tiny
from blissmask.archs.clip import load_clip
from blissmask.archs.components import Component, tokenizer_folders, tokenizer_identity
from blissmask.archs.identity import joined_identity
from blissmask.archs.protocol import Expert, LatentEncoder, LatentSpec, ModelFiles
from blissmask.archs.t5 import load_umt5
from blissmask.archs.tasks import checked_task
from blissmask.archs.umt5 import Umt5TextEncoder, load_tokenizer
from blissmask.archs.wan_denoiser import WanDenoiser, load_denoiser
from blissmask.archs.wan_i2v import WanImageToVideoEncoder
from blissmask.archs.wan_latents import WanLatentEncoder
from blissmask.archs.wan_vae import load_vae

LATENT = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16)
VAE = Component("vae", "vae", "diffusers.AutoencoderKLWan", load_vae, tiny.wan_vae, "wan")
TEXT_ENCODER = Component("text_encoder", "text_encoder", "transformers.UMT5EncoderModel", load_umt5, tiny.umt5, "wan")
IMAGE_ENCODER = Component("image_encoder", "image_encoder", "transformers.CLIPVisionModel", load_clip, tiny.clip, "wan")
# 16 noisy channels, 4 of frame mask, 16 of the first frame.
_I2V_CHANNELS = 36


def load_text_encoder(files: ModelFiles, *, device: torch.device, dtype: torch.dtype) -> Umt5TextEncoder:
    """Load UMT5 and its tokenizer. Raises ModelError."""
    source = TEXT_ENCODER.source(files)
    tokenizer = tiny.byte_tokenizer() if source is None else load_tokenizer(tokenizer_folders(files, TEXT_ENCODER), source)
    model = TEXT_ENCODER.load(files, device=device, dtype=dtype)
    return Umt5TextEncoder(model, tokenizer, identity=text_encoder_identity(files))


def text_encoder_identity(files: ModelFiles) -> str:
    """Return the name of UMT5's weights and tokenizer by content."""
    return joined_identity([TEXT_ENCODER.identity(files), *tokenizer_identity(files, TEXT_ENCODER)])


@dataclass(frozen=True)
class WanFamily:
    """A Wan family of stride 8; see :class:`blissmask.archs.protocol.Architecture` for the attributes.

    Attributes:
        task_experts: the denoisers of each task.
        sees_clip: whether image-to-video uses CLIP features beside the latents (2.1 does, 2.2 does not).
    """

    name: str
    modelspec: str
    task_experts: dict[str, tuple[Expert, ...]]
    sees_clip: bool
    one_frame_tasks: tuple[str, ...] = ()
    cache_suffix: str = "wan"
    metadata_name: str = "wan"
    latent: LatentSpec = LATENT
    default_fps: float = 16.0
    default_shift: float = 3.0
    control_range: tuple[int, int] = (0, 0)
    text_sees_controls: bool = False
    takes_videos: bool = True

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the supported tasks, the default first."""
        return tuple(self.task_experts)

    def experts(self, task: str) -> tuple[Expert, ...]:
        """Return the denoisers for ``task``."""
        return self.task_experts[checked_task(self, task)]

    def load_latent_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> LatentEncoder:
        """Load the VAE's encoder, and for Wan 2.1 image-to-video CLIP. Raises ModelError."""
        image_task = checked_task(self, task) != "t2v"
        identity = self.latent_encoder_identity(files, task=task)
        encoder = WanLatentEncoder(VAE.load(files, device=device, dtype=dtype), self.latent, identity=identity)
        if not image_task:
            return encoder
        clip = IMAGE_ENCODER.load(files, device=device, dtype=dtype) if self.sees_clip else None
        return WanImageToVideoEncoder(encoder, clip, identity=identity)

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        if checked_task(self, task) == "t2v" or not self.sees_clip:
            return VAE.identity(files)
        return joined_identity([VAE.identity(files), IMAGE_ENCODER.identity(files)])

    def load_text_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> Umt5TextEncoder:
        """Load UMT5 and its tokenizer, the same for every task. Raises ModelError."""
        checked_task(self, task)
        return load_text_encoder(files, device=device, dtype=dtype)

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return text_encoder_identity(files)

    def load_denoiser(self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype) -> WanDenoiser:
        """Load the denoiser of ``expert``. Raises ModelError."""
        part = self.denoiser(expert, task)
        return WanDenoiser(part.load(files, device=device, dtype=dtype), identity=part.identity(files), dtype=dtype)

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
            load_file=load_denoiser,
            tiny=build,
            tiny_name=f"{self.name}-{checked_task(self, task)}",
        )
