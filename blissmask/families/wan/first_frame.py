"""Image-to-video of Wan 2.2 5B: the first latent frame is the picture, and is shown to the denoiser without noise.

Shapes: B items, C channels, F latent frames, H and W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from blissmask.families.conditioning import stacked
from blissmask.families.protocol import Batch, OneFrame
from blissmask.families.wan.denoiser import WanDenoiser
from blissmask.families.wan.latents import WanLatentEncoder


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

    def encode_item(
        self, pixels_BCFHW: Tensor, *, controls: Sequence[Tensor] = (), one_frame: OneFrame | None = None
    ) -> dict[str, Tensor]:
        """Return ``latents`` and ``latents_image``; see :class:`blissmask.families.protocol.LatentEncoder`."""
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

        In image-to-video the first latent frame has nothing to predict, and no loss counts it
        (``Architecture.shown_frames``); it gets its exact velocity, (noisy - clean) / s. Pictures of one frame train as
        text-to-video.
        """
        if not self._shows_first_frame or batch.noisy_BCFHW.shape[2] == 1:
            return self._wan.predict(Batch(batch.noisy_BCFHW, batch.timesteps_B, _without_picture(batch)))
        clean_BC1HW = stacked(batch.conditioning["latents_image"]).to(batch.noisy_BCFHW)
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
    per_frame = (
        batch.timesteps_B.float().view(-1, 1, 1)
        * 1000
        * (torch.arange(frames, device=batch.timesteps_B.device) > 0).view(1, -1, 1)
    )
    return per_frame.expand(-1, -1, height // 2 * (width // 2)).flatten(1)


def _without_picture(batch: Batch) -> dict[str, Tensor | list[Tensor]]:
    return {name: value for name, value in batch.conditioning.items() if name != "latents_image"}
