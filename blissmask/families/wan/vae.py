"""Encode pictures and videos with a causal VAE of the Wan kind, single frames on the exact 2-D path.

Shapes: B items, C channels, F frames, H and W rows and columns; pixels in RGB from -1 to 1, latents normalised per
channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blissmask.families.protocol import LatentSpec
from blissmask.families.vae.channel_norm import use_channel_norms
from blissmask.families.vae.encoding import check_pixels
from blissmask.families.vae.single_frame import use_image_path


class WanVaeEncoder:
    """Encodes with ``AutoencoderKLWan``, or with another class of the same network.

    Args:
        vae: on its device and in its dtype.
        latent: geometry of the latents.
        convolution: class of the VAE's causal convolutions.
        norm: class of its RMS norms.
    """

    def __init__(
        self, vae: Any, latent: LatentSpec, *, convolution: str = "WanCausalConv3d", norm: str = "WanRMS_norm"
    ) -> None:
        self._vae = vae
        self._latent = latent
        self._dtype = vae.quant_conv.weight.dtype
        self._device = vae.quant_conv.weight.device
        shape = (1, latent.channels, 1, 1, 1)
        self._mean = torch.tensor(vae.config.latents_mean, device=self._device).view(shape)
        self._std = torch.tensor(vae.config.latents_std, device=self._device).view(shape)
        use_channel_norms(vae.encoder, class_name=norm)
        use_image_path(vae.encoder, class_name=convolution, time_padding="zeros")

    @torch.inference_mode()
    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return float32 latents_BCFHW: the mode of the posterior, ``(z - mean) / std`` per channel.

        Source of the normalisation: the Wan repositories; the constants are the VAE's own configuration.
        """
        check_pixels(pixels_BCFHW, self._latent)
        pixels_BCFHW = pixels_BCFHW.to(self._device, self._dtype)
        moments_BCFHW = self._one_frame(pixels_BCFHW) if pixels_BCFHW.shape[2] == 1 else self._vae._encode(pixels_BCFHW)
        return (moments_BCFHW[:, : self._latent.channels].float() - self._mean) / self._std

    def _one_frame(self, pixels_BC1HW: Tensor) -> Tensor:
        # Without the feature cache, which a single frame fills and throws away: a copy of every activation less.
        if getattr(self._vae.config, "patch_size", None) is not None:
            from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

            pixels_BC1HW = patchify(pixels_BC1HW, patch_size=self._vae.config.patch_size)
        return self._vae.quant_conv(self._vae.encoder(pixels_BC1HW))  # type: ignore[no-any-return]
