"""Predict with Z-Image's denoiser.

Shapes: B items, C channels, H and W latent rows and columns, L text rows, D their width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blissmask.families.protocol import Batch

# The layers that musubi-tuner's networks/lora_zimage.py adapts: those after the refiners, without their modulation.
_LORA_TARGETS = r"layers\.\d+\.(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123])"


class ZImageDenoiser:
    """``ZImageTransformer2DModel`` as a :class:`blissmask.families.protocol.Denoiser`.

    Args:
        module: the model on its device.
        identity: names the weights by content.
        dtype: what activations are computed in.
    """

    lora_targets = _LORA_TARGETS
    block_class_names: tuple[str, ...] = ("ZImageTransformerBlock",)

    def __init__(self, module: Any, *, identity: str, dtype: torch.dtype) -> None:
        self.module: Any = module
        self.identity = identity
        self.dtype = dtype

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW (B, 16, 1, H, W).

        The model takes the time t = 1 - s, which is 1 without noise, and returns latents minus noise. Uses
        ``llm_embed``.
        """
        noisy_BCFHW = batch.noisy_BCFHW.to(self.dtype)
        rows = [row_LD.to(noisy_BCFHW) for row_LD in batch.conditioning["llm_embed"]]
        pictures = self.module(list(noisy_BCFHW), 1 - batch.timesteps_B.float(), rows, return_dict=False)[0]
        return -torch.stack(pictures).float()

    def original_name(self, module_name: str) -> str:
        """Return ``module_name``: the original repository has diffusers' names."""
        return module_name
