"""Predict with Z-Image's denoiser.

Shapes: B items, C channels, H and W latent rows and columns, L text rows, D their width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blissmask.families.denoisers.diffusers_denoiser import DiffusersDenoiser
from blissmask.families.protocol import Batch

# The layers that musubi-tuner's networks/lora_zimage.py adapts: those after the refiners, without their modulation.
_LORA_TARGETS = r"layers\.\d+\.(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123])"


class ZImageDenoiser(DiffusersDenoiser):
    """``ZImageTransformer2DModel``, whose layers have diffusers' names in the original repository, too."""

    lora_targets = _LORA_TARGETS
    block_class_names = ("ZImageTransformerBlock",)

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW (B, 16, 1, H, W).

        The model takes the time t = 1 - s, which is 1 without noise, and returns latents minus noise. Uses
        ``llm_embed``.
        """
        noisy_BCFHW = batch.noisy_BCFHW.to(self.dtype)
        rows = [row_LD.to(noisy_BCFHW) for row_LD in batch.conditioning["llm_embed"]]
        pictures = self.module(list(noisy_BCFHW), 1 - batch.timesteps_B.float(), rows, return_dict=False)[0]
        return -torch.stack(pictures).float()
