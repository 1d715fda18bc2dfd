"""Predict with FLUX.2's denoiser, alone or beside reference pictures.

Shapes: B items, C channels, F = 1 frame, H and W latent rows and columns, N tokens of one latent cell each, L text
rows, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.families.denoisers.conditioning import control_latents, stacked
from blissmask.families.denoisers.diffusers_denoiser import DiffusersDenoiser
from blissmask.families.denoisers.tokens import pack, places, unpack
from blissmask.families.flux2 import names
from blissmask.families.protocol import Batch

# Reference pictures stand this far from each other in time. Source: diffusers' pipelines.
_TIME_STEP = 10
# Norms have no layers, and the modulation is one for all blocks.
_LORA_TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff(_context)?\.linear_(in|out))"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"
)


@dataclass(eq=False, repr=False, kw_only=True)
class Flux2Denoiser(DiffusersDenoiser):
    """``Flux2Transformer2DModel``.

    Attributes:
        guidance_scale: shown to models that were distilled for guidance; others do not look at it.
        edits: whether reference pictures are required.
    """

    guidance_scale: float = 1.0
    edits: bool = False
    lora_targets = _LORA_TARGETS
    block_class_names = ("Flux2TransformerBlock", "Flux2SingleTransformerBlock")
    layer_names = names.DENOISER

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW (B, 128, 1, H, W).

        Tokens of reference pictures stand after the target's and are cut off the prediction. The model takes the
        timestep in 0..1.

        Uses ``ctx_vec``, and ``latents_control_0`` and on for edits.
        """
        noisy_BCFHW, device = batch.noisy_BCFHW, batch.noisy_BCFHW.device
        pictures = [noisy_BCFHW, *control_latents(batch, required=self.edits)]
        text_BLD = stacked(batch.conditioning["ctx_vec"]).to(device, self.dtype)
        guided = self.module.config.guidance_embeds
        velocity_BND = self.module(
            hidden_states=torch.cat([pack(picture) for picture in pictures], dim=1).to(self.dtype),
            timestep=batch.timesteps_B,
            guidance=torch.full_like(batch.timesteps_B, self.guidance_scale) if guided else None,
            encoder_hidden_states=text_BLD,
            # Time, row, column, row of text.
            txt_ids=places(1, 1, 1, text_BLD.shape[1], device=device),
            img_ids=torch.cat(
                [
                    places(1, *picture.shape[3:], 1, device=device, time=number * _TIME_STEP)
                    for number, picture in enumerate(pictures)
                ]
            ),
            return_dict=False,
        )[0]
        return unpack(velocity_BND.float(), *noisy_BCFHW.shape[3:])
