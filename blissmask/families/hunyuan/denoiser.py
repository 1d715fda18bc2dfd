"""Predict with HunyuanVideo's denoiser.

Shapes: B items, C channels, F latent frames, H and W latent rows and columns, L text rows, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.errors import CacheError
from blissmask.families.denoisers.conditioning import padded_rows, stacked
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

        Of the 256 rows of text, those that no caption of the batch fills are left out: the mask keeps all others from
        looking at them, and every block computes them all the same.
        """
        device = batch.noisy_BCFHW.device
        text_BLD, mask_BL = padded_rows(_filled_rows(batch), device, self.dtype)
        guided = self.module.config.guidance_embeds
        velocity_BCFHW = self.module(
            hidden_states=batch.noisy_BCFHW.to(self.dtype),
            timestep=batch.timesteps_B.float() * 1000,
            encoder_hidden_states=text_BLD,
            encoder_attention_mask=mask_BL.long(),
            pooled_projections=stacked(batch.conditioning["clipL"]).to(device, self.dtype),
            guidance=torch.full_like(batch.timesteps_B, self.guidance_scale * 1000, dtype=self.dtype)
            if guided
            else None,
            return_dict=False,
        )[0]
        return velocity_BCFHW.float()  # type: ignore[no-any-return]


def _filled_rows(batch: Batch) -> list[Tensor]:
    """Return the rows of each caption, (L, D), without the padding behind them.

    ``llm_mask`` is ones, then zeros: here and in musubi-tuner captions are padded at their end, so that its sum is L.
    """
    counts = [int(mask_L.sum()) for mask_L in batch.conditioning["llm_mask"]]
    if not all(counts):
        raise CacheError("a cached caption has no rows of text", fix="cache again with `--force`")
    return [rows_LD[:count] for rows_LD, count in zip(batch.conditioning["llm"], counts, strict=True)]
