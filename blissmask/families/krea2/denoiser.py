"""Predict with Krea 2's denoiser.

Shapes: B items, H and W latent rows and columns, N tokens of 2 x 2 latent cells, L text rows, T taps, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blissmask.families.conditioning import padded_rows
from blissmask.families.krea2 import names
from blissmask.families.protocol import Batch
from blissmask.families.qwen.parts import PATCH
from blissmask.families.tokens import pack, places, unpack

# All linear layers, as the authors recommend; modulations and norms are none.
_LORA_TARGETS = (
    r"(transformer_blocks|text_fusion\.(layerwise|refiner)_blocks)\.\d+"
    r"\.(attn\.(to_[qkv]|to_gate|to_out\.0)|ff\.(gate|up|down))"
    r"|img_in|time_embed\.linear_[12]|time_mod_proj|text_fusion\.projector|txt_in\.linear_[12]|final_layer\.linear"
)


class Krea2Denoiser:
    """``Krea2Transformer2DModel`` as a :class:`blissmask.families.protocol.Denoiser`.

    Args:
        module: the model on its device.
        identity: names the weights by content.
        dtype: what activations are computed in.
    """

    lora_targets = _LORA_TARGETS
    # Without the small blocks that fuse the text: they are as delicate as embeddings, and not worth moving.
    block_class_names: tuple[str, ...] = ("Krea2TransformerBlock",)

    def __init__(self, module: Any, *, identity: str, dtype: torch.dtype) -> None:
        self.module: Any = module
        self.identity = identity
        self.dtype = dtype

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

    def original_name(self, module_name: str) -> str:
        """Return the original repository's name of a module."""
        return names.DENOISER.to_original(module_name)
