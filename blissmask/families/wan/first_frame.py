"""Image-to-video of Wan 2.2 5B: the first latent frame is the picture, which the denoiser sees without noise.

Shapes: B items, C channels, F latent frames, H and W latent rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.families.denoisers.conditioning import stacked
from blissmask.families.protocol import Batch, Item, PixelEncoder
from blissmask.families.vae.latent_encoder import latents_alone
from blissmask.families.wan.denoiser import WanDenoiser


def encode_first_frame(item: Item, vae: PixelEncoder) -> dict[str, Tensor]:
    """Add ``latents_image`` (B, 48, 1, H, W), the first latent frame, to the latents.

    A causal VAE makes it of the first picture alone.
    """
    contents = latents_alone(item, vae)
    return {**contents, "latents_image": contents["latents"][:, :, :1].clone()}


@dataclass(eq=False, repr=False, kw_only=True)
class Wan5bDenoiser(WanDenoiser):
    """Predicts with one timestep per token: in image-to-video the first latent frame has no noise and timestep 0.

    Attributes:
        shows_first_frame: whether the task is image-to-video.
    """

    shows_first_frame: bool

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW.

        In image-to-video the first latent frame has nothing to predict, and no loss counts it (``Task.shown_frames``);
        it gets its exact velocity, (noisy - clean) / s. Pictures of one frame train as text-to-video.
        """
        conditioning = {name: value for name, value in batch.conditioning.items() if name != "latents_image"}
        if not self.shows_first_frame or batch.noisy_BCFHW.shape[2] == 1:
            return super().predict(Batch(batch.noisy_BCFHW, batch.timesteps_B, conditioning))
        clean_BC1HW = stacked(batch.conditioning["latents_image"]).to(batch.noisy_BCFHW)
        hidden_BCFHW = torch.cat([clean_BC1HW, batch.noisy_BCFHW[:, :, 1:]], dim=2)
        velocity_BCFHW = self.velocity(hidden_BCFHW, token_timesteps(batch), conditioning)
        level = batch.timesteps_B.to(batch.noisy_BCFHW).view(-1, 1, 1, 1, 1).clamp_min(torch.finfo(torch.float32).tiny)
        exact_BC1HW = (batch.noisy_BCFHW[:, :, :1] - clean_BC1HW) / level
        return torch.cat([exact_BC1HW, velocity_BCFHW[:, :, 1:]], dim=2)


def token_timesteps(batch: Batch) -> Tensor:
    """Return timesteps (B, F * H/2 * W/2) in 0..1000.

    0 for the tokens of the first latent frame, the item's own for all others.
    """
    frames, height, width = batch.noisy_BCFHW.shape[2:]
    is_noisy_F = torch.arange(frames, device=batch.timesteps_B.device) > 0
    per_frame_BF1 = batch.timesteps_B.float().view(-1, 1, 1) * 1000 * is_noisy_F.view(1, -1, 1)
    return per_frame_BF1.expand(-1, -1, height // 2 * (width // 2)).flatten(1)
