"""Encode items of HunyuanVideo 1.5 image-to-video: the first frame as condition, and its SigLIP features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from blissmask.families.hunyuan.vae import HunyuanLatentEncoder
from blissmask.families.hunyuan15.siglip import siglip_features
from blissmask.families.protocol import OneFrame


class Hunyuan15ImageToVideoEncoder:
    """Adds ``latents_image`` (B, 33, F, H, W) and ``siglip`` (B, 729, 1152).

    Args:
        latents: encodes pixels.
        siglip: ``SiglipVisionModel``.
        identity: names the weights of both by content.
    """

    def __init__(self, latents: HunyuanLatentEncoder, siglip: Any, *, identity: str) -> None:
        self.identity = identity
        self._latents = latents
        self._siglip = siglip

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return latents_BCFHW of the pixels alone."""
        return self._latents.encode(pixels_BCFHW)

    @torch.inference_mode()
    def encode_item(
        self, pixels_BCFHW: Tensor, *, controls: Sequence[Tensor] = (), one_frame: OneFrame | None = None
    ) -> dict[str, Tensor]:
        """Return the contents of a cache entry; see :class:`blissmask.families.protocol.LatentEncoder`.

        ``latents_image``: 32 channels of the first picture's latents, zeros in all later frames, and one that is 1 on
        the first frame.
        """
        contents = self._latents.encode_item(pixels_BCFHW, controls=controls, one_frame=one_frame)
        latents_BCFHW = contents["latents"]
        # A causal VAE makes the first latent frame of the first picture alone, so it is not encoded twice.
        condition_BCFHW = torch.zeros_like(latents_BCFHW)
        condition_BCFHW[:, :, :1] = latents_BCFHW[:, :, :1]
        mask_B1FHW = torch.zeros_like(latents_BCFHW[:, :1])
        mask_B1FHW[:, :, :1] = 1
        features = siglip_features(self._siglip, pixels_BCFHW[:, :, 0])
        return {**contents, "latents_image": torch.cat([condition_BCFHW, mask_B1FHW], dim=1), "siglip": features}
