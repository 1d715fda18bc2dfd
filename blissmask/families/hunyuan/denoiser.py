"""Predict with HunyuanVideo's denoiser.

Shapes: B items, C channels, F latent frames, H and W latent rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.families.denoisers.conditioning import stacked
from blissmask.families.denoisers.diffusers_denoiser import DiffusersDenoiser
from blissmask.families.hunyuan import names
from blissmask.families.protocol import Batch

_LORA_TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff(_context)?\.net\.(0\.proj|2))"
    r"|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out)"
)


@dataclass(eq=False, repr=False, kw_only=True)
class HunyuanDenoiser(DiffusersDenoiser):
    """``HunyuanVideoTransformer3DModel``.

    Attributes:
        guidance_scale: shown to a model that was distilled for guidance, as the released one was.
    """

    guidance_scale: float = 1.0
    # A pattern from the first letter: endings such as `to_q` would adapt the token refiner too.
    lora_targets = _LORA_TARGETS
    block_class_names = ("HunyuanVideoTransformerBlock", "HunyuanVideoSingleTransformerBlock")
    layer_names = names.DENOISER

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW.

        Uses ``llm``, ``llm_mask`` and ``clipL``; the timestep is 1000 * s.
        """
        device = batch.noisy_BCFHW.device
        guided = self.module.config.guidance_embeds
        velocity_BCFHW = self.module(
            hidden_states=batch.noisy_BCFHW.to(self.dtype),
            timestep=batch.timesteps_B.float() * 1000,
            encoder_hidden_states=stacked(batch.conditioning["llm"]).to(device, self.dtype),
            encoder_attention_mask=stacked(batch.conditioning["llm_mask"]).to(device).long(),
            pooled_projections=stacked(batch.conditioning["clipL"]).to(device, self.dtype),
            guidance=torch.full_like(batch.timesteps_B, self.guidance_scale * 1000, dtype=self.dtype)
            if guided
            else None,
            return_dict=False,
        )[0]
        return velocity_BCFHW.float()  # type: ignore[no-any-return]
