"""Encode with HunyuanVideo's VAEs (1.0 and 1.5), single frames on the exact 2-D path.

Shapes: B items, C channels, F frames, H and W rows and columns; pixels in RGB from -1 to 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blissmask.families.protocol import LatentSpec
from blissmask.families.vae.channel_norm import use_channel_norms
from blissmask.families.vae.encoding import check_pixels
from blissmask.families.vae.single_frame import use_image_path


class HunyuanVaeEncoder:
    """Encodes with ``AutoencoderKLHunyuanVideo`` or ``AutoencoderKLHunyuanVideo15``.

    Args:
        vae: on its device and in its dtype.
        latent: geometry of the latents.
        convolution: class of the VAE's causal convolutions.
        norm: class of its RMS norms; empty for 1.0, which has group norms.
    """

    def __init__(
        self, vae: Any, latent: LatentSpec, *, convolution: str = "HunyuanVideoCausalConv3d", norm: str = ""
    ) -> None:
        self._vae = vae
        self._latent = latent
        weight = vae.encoder.conv_in.conv.weight
        self._dtype, self._device = weight.dtype, weight.device
        use_channel_norms(vae.encoder, class_name=norm)
        use_image_path(vae.encoder, class_name=convolution, time_padding="replicate")

    @torch.inference_mode()
    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return float32 latents_BCFHW as the VAE gives them, not yet times ``LatentSpec.train_scale``.

        The mode of the posterior: musubi-tuner draws a sample for 1.0, the mode is the same at every run.
        """
        check_pixels(pixels_BCFHW, self._latent)
        # One by one: the attention mask of 1.5 in diffusers 0.42 fits no larger batch, and a batch is no faster.
        moments = [self._vae._encode(item) for item in torch.split(pixels_BCFHW.to(self._device, self._dtype), 1)]
        return torch.cat(moments)[:, : self._latent.channels].float()
