"""Load HunyuanVideo's VAEs (1.0 and 1.5) and encode with them, single frames on the exact 2-D path.

Shapes: B items, C channels, F frames, H and W rows and columns; pixels in RGB from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.errors import UsageError
from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import open_checkpoint
from blissmask.families.hunyuan.names import VAE_15
from blissmask.families.protocol import LatentSpec, OneFrame
from blissmask.families.vae.channel_norm import use_channel_norms
from blissmask.families.vae.pixels import check_pixels
from blissmask.families.vae.single_frame import use_image_path

_KIND = "HunyuanVideo VAE"
_DECODER = ("decoder.", "post_quant_conv.")
_CAUSAL_CLASSES = {
    "AutoencoderKLHunyuanVideo": "HunyuanVideoCausalConv3d",
    "AutoencoderKLHunyuanVideo15": "HunyuanVideo15CausalConv3d",
}


class HunyuanLatentEncoder:
    """Encodes with ``AutoencoderKLHunyuanVideo`` or ``AutoencoderKLHunyuanVideo15``; the decoder is dropped.

    Args:
        vae: on its device and in its dtype.
        latent: geometry of the latents.
        identity: names the weights by content.
    """

    def __init__(self, vae: Any, latent: LatentSpec, *, identity: str) -> None:
        self.identity = identity
        self._vae = drop_decoder(vae)
        self._latent = latent
        weight = self._vae.encoder.conv_in.conv.weight
        self._dtype, self._device = weight.dtype, weight.device
        use_channel_norms(self._vae.encoder)
        use_image_path(self._vae.encoder, class_name=_CAUSAL_CLASSES[type(vae).__name__], time_padding="replicate")

    @torch.inference_mode()
    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return float32 latents_BCFHW as the VAE gives them: the mode of the posterior, not yet times ``LatentSpec.train_scale``.

        musubi-tuner draws a sample of the posterior for 1.0; the mode is the same at every run.
        """
        check_pixels(pixels_BCFHW, self._latent)
        # One by one: the attention mask of 1.5 in diffusers 0.42 fits no larger batch, and a batch is no faster.
        moments = [self._vae._encode(item) for item in torch.split(pixels_BCFHW.to(self._device, self._dtype), 1)]
        return torch.cat(moments)[:, : self._latent.channels].float()

    def encode_item(
        self, pixels_BCFHW: Tensor, *, controls: Sequence[Tensor] = (), one_frame: OneFrame | None = None
    ) -> dict[str, Tensor]:
        """Return ``{"latents": ...}``; see :class:`blissmask.families.protocol.LatentEncoder`."""
        if controls or one_frame:
            raise UsageError("HunyuanVideo takes no control pictures", fix="remove the control pictures")
        return {"latents": self.encode(pixels_BCFHW)}


def drop_decoder(vae: Any) -> Any:
    """Remove the half of ``vae`` that encoding never runs."""
    vae.decoder = None
    if hasattr(vae, "post_quant_conv"):
        vae.post_quant_conv = None
    return vae


def load_vae(
    path: Path, *, device: torch.device, dtype: torch.dtype, class_name: str, decoder: bool = False
) -> nn.Module:
    """Load a VAE from a single file, original or diffusers names; without its decoder unless asked for.

    Args:
        path: the file; 1.0 was published in diffusers' names, 1.5 was not.
        device: where the weights go.
        dtype: what they become.
        class_name: ``AutoencoderKLHunyuanVideo`` or ``AutoencoderKLHunyuanVideo15``.
        decoder: whether to load the decoder too, for previews.

    Raises:
        ModelError: the file is damaged, no VAE of this kind, or lacks keys.
    """
    import diffusers

    tensors = {name.removeprefix("vae."): tensor for name, tensor in open_checkpoint(path).items()}
    if "encoder.down.0.block.0.conv1.conv.weight" in tensors:
        tensors = VAE_15.rename(tensors)
    config = config_of(tensors, path)
    vae = build_empty(lambda: getattr(diffusers, class_name)(**config))
    if not decoder:
        drop_decoder(vae)
    return load_weights(vae, tensors, source=path, device=device, dtype=dtype, ignore=() if decoder else _DECODER)


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``AutoencoderKLHunyuanVideo`` or ``AutoencoderKLHunyuanVideo15`` that fit ``tensors`` (diffusers names)."""
    stages = max(1, count_of(tensors, "encoder.down_blocks."))
    convolutions = [f"encoder.down_blocks.{stage}.resnets.0.conv1.conv.weight" for stage in range(stages)]
    return {
        "block_out_channels": tuple(shape_of(tensors, name, source=path, kind=_KIND)[0] for name in convolutions),
        "layers_per_block": count_of(tensors, "encoder.down_blocks.0.resnets."),
        "latent_channels": shape_of(tensors, "encoder.conv_out.conv.weight", source=path, kind=_KIND)[0] // 2,
    }
