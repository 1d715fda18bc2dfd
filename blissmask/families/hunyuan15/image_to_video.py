"""What image-to-video of HunyuanVideo 1.5 shows the denoiser: the latents of the first frame, and its SigLIP features.

Shapes: B items, C channels, F latent frames, H and W rows and columns; N patches and D their width, 729 and 1152 in
the full model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blissmask.families.encoders import siglip
from blissmask.families.protocol import Item, PixelEncoder
from blissmask.families.vae.latent_encoder import latents_alone


def encode_first_frame(item: Item, vae: PixelEncoder, siglip_model: Any) -> dict[str, Tensor]:
    """Add ``latents_image`` (B, 33, F, H, W) and ``siglip`` (B, N, D) to the latents.

    ``latents_image``: 32 channels of the first picture's latents, zeros in all later frames, and one that is 1 on the
    first frame.
    """
    contents = latents_alone(item, vae)
    latents_BCFHW = contents["latents"]
    # A causal VAE makes the first latent frame of the first picture alone, so it is not encoded twice.
    condition_BCFHW = torch.zeros_like(latents_BCFHW)
    condition_BCFHW[:, :, :1] = latents_BCFHW[:, :, :1]
    mask_B1FHW = torch.zeros_like(latents_BCFHW[:, :1])
    mask_B1FHW[:, :, :1] = 1
    features = siglip.features(siglip_model, item.pixels_BCFHW[:, :, 0])
    return {**contents, "latents_image": torch.cat([condition_BCFHW, mask_B1FHW], dim=1), "siglip": features}
