"""Predict with HunyuanVideo 1.5's denoiser, and encode what image-to-video shows it.

Shapes: B items, C channels, F latent frames, H and W latent rows and columns; L text rows or N patches, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blissmask.errors import CacheError
from blissmask.families.denoisers.conditioning import padded_rows, stacked
from blissmask.families.denoisers.diffusers_denoiser import DiffusersDenoiser
from blissmask.families.denoisers.lora_targets import without_last_text
from blissmask.families.encoders import siglip
from blissmask.families.hunyuan15 import names, parts
from blissmask.families.protocol import Batch, Item, PixelEncoder
from blissmask.families.vae.latent_encoder import latents_alone


@dataclass(eq=False, repr=False, kw_only=True)
class Hunyuan15Denoiser(DiffusersDenoiser):
    """``HunyuanVideo15Transformer3DModel``.

    Attributes:
        shows_picture: whether the model is trained as image-to-video.
    """

    shows_picture: bool
    block_class_names = ("HunyuanVideo15TransformerBlock",)
    layer_names = names.DENOISER
    apart_name = staticmethod(names.apart_name)

    def __post_init__(self) -> None:
        blocks = len(self.module.transformer_blocks)
        self.lora_targets = without_last_text(blocks, picture_mlp="ff", text_mlp="ff_context")

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW.

        Uses ``vl_embed`` and ``byt5_embed``; for image-to-video also ``latents_image`` and ``siglip``.
        """
        device = batch.noisy_BCFHW.device
        text_BLD, text_mask_BL = padded_rows(batch.conditioning["vl_embed"], device, self.dtype)
        glyphs_BLD, glyph_mask_BL = padded_rows(batch.conditioning["byt5_embed"], device, self.dtype)
        condition_BCFHW, pictures_BND = self._pictures(batch)
        velocity_BCFHW = self.module(
            hidden_states=torch.cat([batch.noisy_BCFHW, condition_BCFHW], dim=1).to(self.dtype),
            # The model embeds time in the dtype of the timestep, so it must be the weights' own, as in diffusers'
            # pipeline.
            timestep=(batch.timesteps_B.float() * 1000).to(self.dtype),
            encoder_hidden_states=text_BLD,
            encoder_attention_mask=text_mask_BL.long(),
            encoder_hidden_states_2=glyphs_BLD,
            encoder_attention_mask_2=glyph_mask_BL.long(),
            image_embeds=pictures_BND.to(self.dtype),
            return_dict=False,
        )[0]
        return velocity_BCFHW.float()  # type: ignore[no-any-return]

    def _pictures(self, batch: Batch) -> tuple[Tensor, Tensor]:
        noisy_BCFHW = batch.noisy_BCFHW
        if not self.shows_picture:
            batch_size, channels, *grid = noisy_BCFHW.shape
            condition_BCFHW = noisy_BCFHW.new_zeros(batch_size, channels + 1, *grid)
            # Zeros mean that there is no picture. One row of them does, and attention need not carry the usual 729.
            return condition_BCFHW, noisy_BCFHW.new_zeros(batch_size, 1, self.module.config.image_embed_dim)
        if "latents_image" not in batch.conditioning or "siglip" not in batch.conditioning:
            raise CacheError("the cache holds no first frames", fix="cache again with `--task i2v`")
        condition_BCFHW = stacked(batch.conditioning["latents_image"]).to(noisy_BCFHW)
        # The condition is cached as the VAE gives it, like the latents; its last channel is a mask.
        scaled_BCFHW = torch.cat([condition_BCFHW[:, :-1] * parts.LATENT.train_scale, condition_BCFHW[:, -1:]], dim=1)
        return scaled_BCFHW, stacked(batch.conditioning["siglip"]).to(noisy_BCFHW)


def encode_first_frame(item: Item, vae: PixelEncoder, siglip_model: Any) -> dict[str, Tensor]:
    """Add ``latents_image`` (B, 33, F, H, W) and ``siglip`` (B, N, D) to the latents.

    ``latents_image``: 32 channels of the first picture's latents, zeros in all later frames, and one that is 1 on the
    first frame.
    """
    contents = latents_alone(item, vae)
    latents_BCFHW = contents["latents"]
    condition_BCFHW = torch.cat([latents_BCFHW, torch.ones_like(latents_BCFHW[:, :1])], dim=1)
    # A causal VAE makes the first latent frame of the first picture alone, so it is not encoded twice.
    condition_BCFHW[:, :, 1:] = 0
    features = siglip.features(siglip_model, item.pixels_BCFHW[:, :, 0])
    return {**contents, "latents_image": condition_BCFHW, "siglip": features}
