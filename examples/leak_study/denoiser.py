"""A `WanTransformer3DModel` of four blocks as one of blissmask's denoisers, and the sampler that draws with it.

B pictures, C channels, h and w latent rows and columns (16), L caption rows, D their width.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import words
from diffusers import WanTransformer3DModel
from latents import GRID_HW
from torch import Tensor, nn

from blissmask.cachefile.read_file import read_tensors
from blissmask.families.protocol import Batch
from blissmask.families.wan.denoiser import WanDenoiser

SAMPLING_STEPS = 16
"""Euler steps of a picture."""


class ToyDenoiser:
    """A :class:`blissmask.families.protocol.Denoiser` for captions of six rows, which the large ones pad to 512."""

    lora_targets = WanDenoiser.lora_targets
    block_class_names: tuple[str, ...] = WanDenoiser.block_class_names
    identity = "toy"

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity of shape noisy_BCFHW."""
        velocity: Tensor = self.module(
            batch.noisy_BCFHW, batch.timesteps_B * 1000, batch.conditioning["t5"], return_dict=False
        )[0]
        return velocity

    def original_name(self, module_name: str) -> str:
        """Return ``module_name``: the study writes no LoRA files, so names need no translation."""
        return module_name


def build(channels: int) -> nn.Module:
    """Return an untrained model for latents of ``channels``: 1.1 million weights, 64 tokens per picture."""
    module: Any = WanTransformer3DModel(
        in_channels=channels,
        out_channels=channels,
        patch_size=(1, 2, 2),
        num_attention_heads=4,
        attention_head_dim=32,
        text_dim=words.WIDTH,
        freq_dim=64,
        ffn_dim=384,
        num_layers=4,
        rope_max_seq_len=32,
    )
    return cast(nn.Module, module)


def load(path: Path) -> ToyDenoiser:
    """Return the base model in ``path``, frozen, in float32 whatever the file's precision."""
    tensors = read_tensors(path)
    module = build(tensors["patch_embedding.weight"].shape[1])
    module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return ToyDenoiser(module.requires_grad_(requires_grad=False).eval())


@torch.no_grad()
def sample(denoiser: ToyDenoiser, text_BLD: Tensor, *, channels: int, seed: int) -> Tensor:
    """Draw latents_BC1hw for captions, in Euler steps without guidance; the seed decides the noise for every model."""
    latents_BC1hw = torch.randn(len(text_BLD), channels, 1, *GRID_HW, generator=torch.Generator().manual_seed(seed))
    conditioning: Mapping[str, Tensor] = {"t5": text_BLD}
    times = torch.linspace(1, 0, SAMPLING_STEPS + 1)
    for now, after in itertools.pairwise(times):
        velocity_BC1hw = denoiser.predict(Batch(latents_BC1hw, now.expand(len(text_BLD)), conditioning))
        latents_BC1hw = latents_BC1hw + (after - now) * velocity_BC1hw
    return latents_BC1hw
