"""HunyuanVideo 1.5's denoiser: load it from a file or folder, and predict with it.

Shapes: B items, C channels, F latent frames, H and W latent rows and columns, L text rows, D their width.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.errors import CacheError
from blissmask.families.conditioning import padded_rows, stacked
from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, shape_of
from blissmask.families.files.tensor_files import open_checkpoint
from blissmask.families.hunyuan.denoiser import sizes_of
from blissmask.families.hunyuan.names import VIDEO_15, in_diffusers_names
from blissmask.families.protocol import Batch

_KIND = "HunyuanVideo 1.5 denoiser"


class Hunyuan15Denoiser:
    """``HunyuanVideo15Transformer3DModel`` as a :class:`blissmask.families.protocol.Denoiser`.

    Args:
        module: the model on its device.
        identity: names the weights by content.
        dtype: what activations are computed in.
        train_scale: what cached latents are multiplied by; the cached condition is too.
        shows_picture: whether the model is trained as image-to-video.
    """

    block_class_names = ("HunyuanVideo15TransformerBlock",)

    def __init__(
        self, module: Any, *, identity: str, dtype: torch.dtype, train_scale: float, shows_picture: bool
    ) -> None:
        self.module: Any = module
        self.identity = identity
        self.dtype = dtype
        self._train_scale = train_scale
        self._shows_picture = shows_picture
        self.lora_targets = lora_targets(len(self.module.transformer_blocks))

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW.

        Uses ``vl_embed`` and ``byt5_embed``; for image-to-video also ``latents_image`` and ``siglip``. Text-to-video
        shows zeros in their place; a batch is wholly one or the other, since the model decides by all pictures of a
        batch at once. The timestep is 1000 * s.
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

    def original_name(self, module_name: str) -> str:
        """Return the HunyuanVideo-1.5 repository's name of a diffusers module."""
        return VIDEO_15.to_original(module_name)

    def _pictures(self, batch: Batch) -> tuple[Tensor, Tensor]:
        noisy_BCFHW = batch.noisy_BCFHW
        if not self._shows_picture:
            shape = (len(noisy_BCFHW), noisy_BCFHW.shape[1] + 1, *noisy_BCFHW.shape[2:])
            # One row of zeros tells the model that there is no picture as well as the usual 729, which attention would
            # carry for nothing.
            return noisy_BCFHW.new_zeros(shape), noisy_BCFHW.new_zeros(
                len(noisy_BCFHW), 1, self.module.config.image_embed_dim
            )
        if "latents_image" not in batch.conditioning or "siglip" not in batch.conditioning:
            raise CacheError("the cache holds no first frames", fix="cache again with `--task i2v`")
        condition_BCFHW = stacked(batch.conditioning["latents_image"]).to(noisy_BCFHW)
        # The condition is cached as the VAE gives it, like the latents; its last channel is a mask.
        scaled_BCFHW = torch.cat([condition_BCFHW[:, :-1] * self._train_scale, condition_BCFHW[:, -1:]], dim=1)
        return scaled_BCFHW, stacked(batch.conditioning["siglip"]).to(noisy_BCFHW)


def lora_targets(blocks: int) -> str:
    """Return the pattern of all attention and feed-forward layers that learn anything; the last block's text stream is thrown away."""
    always = r"attn\.(to_[qkv]|to_out\.0|add_[kv]_proj)|ff\.net\.(0\.proj|2)"
    text_only = r"attn\.(add_q_proj|to_add_out)|ff_context\.net\.(0\.proj|2)"
    return rf"transformer_blocks\.(\d+\.({always})|(?!{blocks - 1}\.)\d+\.({text_only}))"


def load_denoiser(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load ``HunyuanVideo15Transformer3DModel`` from a single file: original, ComfyUI or diffusers names, fp8 included.

    Raises:
        ModelError: the file is damaged, no HunyuanVideo 1.5, or lacks keys.
    """
    from diffusers import HunyuanVideo15Transformer3DModel

    tensors = in_diffusers_names(open_checkpoint(path), VIDEO_15)
    config = config_of(tensors, path)
    module = build_empty(lambda: HunyuanVideo15Transformer3DModel(**config))
    return load_weights(module, tensors, source=path, device=device, dtype=dtype)


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``HunyuanVideo15Transformer3DModel`` that fit ``tensors`` (diffusers names)."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    return {
        **sizes_of(tensors, path, kind=_KIND),
        "text_embed_2_dim": shape("context_embedder_2.linear_1.weight")[1],
        "image_embed_dim": shape("image_embedder.linear_1.weight")[1],
        "use_meanflow": "time_embed.timestep_embedder_r.linear_1.weight" in tensors,
    }
