"""Predict with Krea 2's denoiser.

Shapes: B items, H and W latent rows and columns, N tokens of 2 x 2 latent cells, L text rows, T taps, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blissmask.families.denoisers.conditioning import padded_rows
from blissmask.families.denoisers.diffusers_denoiser import DiffusersDenoiser
from blissmask.families.denoisers.tokens import pack, places, unpack
from blissmask.families.krea2 import names
from blissmask.families.protocol import Batch
from blissmask.families.qwen.parts import PATCH

# All linear layers, as the authors recommend; modulations and norms are none.
_LORA_TARGETS = (
    r"(transformer_blocks|text_fusion\.(layerwise|refiner)_blocks)\.\d+"
    r"\.(attn\.(to_[qkv]|to_gate|to_out\.0)|ff\.(gate|up|down))"
    r"|img_in|time_embed\.linear_[12]|time_mod_proj|text_fusion\.projector|txt_in\.linear_[12]|final_layer\.linear"
)


class Krea2Denoiser(DiffusersDenoiser):
    """``Krea2Transformer2DModel``."""

    lora_targets = _LORA_TARGETS
    # Without the small blocks that fuse the text: they are as delicate as embeddings, and not worth moving.
    block_class_names = ("Krea2TransformerBlock",)
    layer_names = names.DENOISER

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW (B, 16, 1, H, W). Uses ``krea2_vl_embed``.

        The model takes the timestep in 0..1.
        """
        device = batch.noisy_BCFHW.device
        rows = batch.conditioning["krea2_vl_embed"]
        text_BLTD, mask_BL = padded_rows(rows, device, self.dtype)
        height, width = batch.noisy_BCFHW.shape[3:]
        places_N3 = places(1, height // PATCH, width // PATCH, device=device)
        velocity_BND = self.module(
            hidden_states=pack(batch.noisy_BCFHW, PATCH).to(self.dtype),
            encoder_hidden_states=text_BLTD,
            # Never rounded to bfloat16, whose neighbours are 4 of 1000 levels apart near pure noise.
            timestep=batch.timesteps_B.float(),
            # Text has no place.
            position_ids=torch.cat([places_N3.new_zeros(text_BLTD.shape[1], 3), places_N3]),
            # Without a mask, attention takes its faster way.
            encoder_attention_mask=None if len({len(row) for row in rows}) == 1 else mask_BL,
            return_dict=False,
        )[0]
        return unpack(velocity_BND.float(), height, width, PATCH)
