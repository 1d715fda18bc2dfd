"""Predict with Qwen-Image's denoiser, alone or beside control pictures.

Shapes: B items, C channels, F = 1 frame, H and W latent rows and columns, N tokens of 2 x 2 latent cells, L text rows,
D their width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.families.denoisers.conditioning import control_latents, padded_rows
from blissmask.families.denoisers.diffusers_denoiser import DiffusersDenoiser
from blissmask.families.denoisers.lora_targets import without_last_text
from blissmask.families.denoisers.tokens import pack, unpack
from blissmask.families.protocol import Batch
from blissmask.families.qwen.parts import PATCH


@dataclass(eq=False, repr=False, kw_only=True)
class QwenDenoiser(DiffusersDenoiser):
    """``QwenImageTransformer2DModel``; the original repository is diffusers.

    Attributes:
        edits: whether control pictures are required.
    """

    edits: bool
    block_class_names = ("QwenImageTransformerBlock",)

    def __post_init__(self) -> None:
        blocks = len(self.module.transformer_blocks)
        self.lora_targets = without_last_text(blocks, picture_mlp="img_mlp", text_mlp="txt_mlp")

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW (B, 16, 1, H, W).

        Tokens of control pictures stand after the target's and are cut off the prediction. The model takes the timestep
        in 0..1.

        Uses ``vl_embed``, and ``latents_control_0`` and on for edit models.
        """
        pictures = [batch.noisy_BCFHW, *control_latents(batch, required=self.edits)]
        rows = batch.conditioning["vl_embed"]
        text_BLD, mask_BL = padded_rows(rows, batch.noisy_BCFHW.device, self.dtype)
        height, width = batch.noisy_BCFHW.shape[3:]
        shapes = [(1, picture.shape[3] // PATCH, picture.shape[4] // PATCH) for picture in pictures]
        velocity_BND = self.module(
            hidden_states=torch.cat([pack(picture, PATCH) for picture in pictures], dim=1).to(self.dtype),
            timestep=batch.timesteps_B.to(self.dtype),
            encoder_hidden_states=text_BLD,
            # Without a mask, attention takes its faster way.
            encoder_hidden_states_mask=None if len({len(row) for row in rows}) == 1 else mask_BL,
            img_shapes=[shapes] * len(batch.noisy_BCFHW),
            return_dict=False,
        )[0]
        return unpack(velocity_BND.float(), height, width, PATCH)
