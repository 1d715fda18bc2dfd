"""Wan 2.2 TI2V-5B: text or image to video, stride 16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.archs import tiny
from blissmask.archs.components import Component
from blissmask.archs.protocol import Batch, Expert, LatentEncoder, LatentSpec, ModelFiles, OneFrame
from blissmask.archs.tasks import checked_task
from blissmask.archs.umt5 import Umt5TextEncoder
from blissmask.archs.wan import load_text_encoder, text_encoder_identity
from blissmask.archs.wan_denoiser import WanDenoiser, load_denoiser
from blissmask.archs.wan_latents import WanLatentEncoder
from blissmask.archs.wan_vae import load_vae

VAE = Component("vae", "vae", "diffusers.AutoencoderKLWan", load_vae, tiny.wan22_vae, "wan22-5b")
DENOISER = Component(
    "transformer",
    "dit",
    "diffusers.WanTransformer3DModel",
    load_denoiser,
    lambda: tiny.wan_transformer(in_channels=48, out_channels=48),
    "wan22-5b",
)


class FirstFrameEncoder:
    """Adds ``latents_image`` (B, 48, 1, H, W), the first latent frame, which a causal VAE makes of the first picture alone.

    Args:
        latents: encodes pixels.
    """

    def __init__(self, latents: WanLatentEncoder) -> None:
        self.identity = latents.identity
        self._latents = latents

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return latents_BCFHW of the pixels alone."""
        return self._latents.encode(pixels_BCFHW)

    def encode_item(self, pixels_BCFHW: Tensor, *, controls: Sequence[Tensor] = (), one_frame: OneFrame | None = None) -> dict[str, Tensor]:
        """Return ``latents`` and ``latents_image``; see :class:`blissmask.archs.protocol.LatentEncoder`."""
        contents = self._latents.encode_item(pixels_BCFHW, controls=controls, one_frame=one_frame)
        return {**contents, "latents_image": contents["latents"][:, :, :1].clone()}


class Wan5bDenoiser:
    """Predicts with one timestep per token: in image-to-video the first latent frame is shown without noise, at timestep 0.

    Args:
        wan: the denoiser as for every other Wan.
        task: ``t2v`` or ``i2v``.
    """

    lora_targets = WanDenoiser.lora_targets
    block_class_names = WanDenoiser.block_class_names

    def __init__(self, wan: WanDenoiser, *, task: str) -> None:
        self.module = wan.module
        self.identity = wan.identity
        self._wan = wan
        self._shows_first_frame = task == "i2v"

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW.

        In image-to-video the first latent frame has nothing to predict. It gets its exact velocity, (noisy - clean) / s, so that it adds
        neither loss nor gradient. Pictures of one frame train as text-to-video.
        """
        if not self._shows_first_frame or batch.noisy_BCFHW.shape[2] == 1:
            return self._wan.predict(Batch(batch.noisy_BCFHW, batch.timesteps_B, _without_picture(batch)))
        picture = batch.conditioning["latents_image"]
        clean_BC1HW = (picture if isinstance(picture, Tensor) else torch.stack(picture)).to(batch.noisy_BCFHW)
        hidden_BCFHW = torch.cat([clean_BC1HW, batch.noisy_BCFHW[:, :, 1:]], dim=2)
        velocity_BCFHW = self._wan.velocity(hidden_BCFHW, token_timesteps(batch), _without_picture(batch))
        level = batch.timesteps_B.to(batch.noisy_BCFHW).view(-1, 1, 1, 1, 1).clamp_min(torch.finfo(torch.float32).tiny)
        exact_BC1HW = (batch.noisy_BCFHW[:, :, :1] - clean_BC1HW) / level
        return torch.cat([exact_BC1HW, velocity_BCFHW[:, :, 1:]], dim=2)

    def original_name(self, module_name: str) -> str:
        """Return the Wan repositories' name of a diffusers module."""
        return self._wan.original_name(module_name)


def token_timesteps(batch: Batch) -> Tensor:
    """Return timesteps (B, F * H/2 * W/2) in 0..1000: 0 for the tokens of the first latent frame, the item's own for all others."""
    frames, height, width = batch.noisy_BCFHW.shape[2:]
    per_frame = batch.timesteps_B.float().view(-1, 1, 1) * 1000 * (torch.arange(frames, device=batch.timesteps_B.device) > 0).view(1, -1, 1)
    return per_frame.expand(-1, -1, height // 2 * (width // 2)).flatten(1)


def _without_picture(batch: Batch) -> dict[str, Tensor | list[Tensor]]:
    return {name: value for name, value in batch.conditioning.items() if name != "latents_image"}


@dataclass(frozen=True)
class Wan5bFamily:
    """See :class:`blissmask.archs.protocol.Architecture` for the attributes."""

    name: str = "wan22-5b"
    # Other latents than every other Wan's, so a name of its own; musubi-tuner has none.
    cache_suffix: str = "wan5b"
    metadata_name: str = "wan22_5b"
    tasks: tuple[str, ...] = ("t2v", "i2v")
    latent: LatentSpec = LatentSpec(channels=48, spatial_stride=16, temporal_stride=4, grid_multiple=32)  # noqa: RUF009 (frozen)
    default_fps: float = 24.0
    default_shift: float = 5.0
    modelspec: str = "wan2.2-5b/lora"
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
        vae = VAE.load(files, device=device, dtype=dtype)
        encoder = WanLatentEncoder(vae, self.latent, identity=self.latent_encoder_identity(files))
        return FirstFrameEncoder(encoder) if checked_task(self, task) == "i2v" else encoder

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return VAE.identity(files)

    def load_text_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = "") -> Umt5TextEncoder:
        """Load UMT5 and its tokenizer, the same for every task. Raises ModelError."""
        checked_task(self, task)
        return load_text_encoder(files, device=device, dtype=dtype)

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of the weights by content, without loading them."""
        checked_task(self, task)
        return text_encoder_identity(files)

    def load_denoiser(self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype) -> Wan5bDenoiser:
        """Load the denoiser. Raises ModelError."""
        assert expert == ""
        wan = WanDenoiser(DENOISER.load(files, device=device, dtype=dtype), identity=DENOISER.identity(files), dtype=dtype)
        return Wan5bDenoiser(wan, task=checked_task(self, task))


ARCHITECTURE = Wan5bFamily()
