"""HunyuanVideo's VAEs, ``AutoencoderKLHunyuanVideo`` of 1.0 and ``AutoencoderKLHunyuanVideo15``: parts and encoder.

Single frames take the exact 2-D path. Shapes: B items, C channels, F frames, H and W rows and columns; pixels in RGB
from -1 to 1.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.families.files.keymap import KeyMap
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.protocol import LatentSpec
from blissmask.families.vae import kl
from blissmask.families.vae.encoding import check_pixels, without_decoder

if TYPE_CHECKING:
    from torch import Tensor

_SIDES = ("encoder", "decoder")
_MID_ATTENTION = [*((f"attn_1.{part}", f"attentions.0.to_{part}") for part in "qkv"), ("attn_1", "attentions.0")]

NAMES_15 = KeyMap(
    [
        *((f"{side}.mid.{theirs}", f"{side}.mid_block.{ours}") for side in _SIDES for theirs, ours in _MID_ATTENTION),
        *((f"{side}.mid.block_{i + 1}", f"{side}.mid_block.resnets.{i}") for side in _SIDES for i in (0, 1)),
        ("encoder.down.{}.block.{}", "encoder.down_blocks.{}.resnets.{}"),
        ("encoder.down.{}.downsample", "encoder.down_blocks.{}.downsamplers.0"),
        ("decoder.up.{}.block.{}", "decoder.up_blocks.{}.resnets.{}"),
        ("decoder.up.{}.upsample", "decoder.up_blocks.{}.upsamplers.0"),
    ]
)


def rename(tensors: Tensors) -> Tensors:
    """Return the tensors of 1.0's VAE under diffusers' names, under which it was published; reads ComfyUI's, too."""
    return kl.rename(_without_prefix(tensors))


def rename_15(tensors: Tensors) -> Tensors:
    """Return the tensors of 1.5's VAE under diffusers' names, whichever layout they came in."""
    plain = _without_prefix(tensors)
    if not any(name.startswith("encoder.down.") for name in plain):
        return plain
    # ComfyUI gives the middle blocks time embeddings that nothing is fed to, and saves them with the rest.
    return NAMES_15.rename({name: tensor for name, tensor in plain.items() if ".temb_proj." not in name})


def _without_prefix(tensors: Tensors) -> Tensors:
    """Return the tensors without the prefix of repackers."""
    return {name.removeprefix("vae."): tensor for name, tensor in tensors.items()}


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``AutoencoderKLHunyuanVideo``, or of 1.5's class, that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind="HunyuanVideo VAE")
    stages = max(1, count_of(tensors, "encoder.down_blocks."))
    convolutions = [f"encoder.down_blocks.{stage}.resnets.0.conv1.conv.weight" for stage in range(stages)]
    return {
        "block_out_channels": tuple(shape(name)[0] for name in convolutions),
        "layers_per_block": count_of(tensors, "encoder.down_blocks.0.resnets."),
        "latent_channels": shape("encoder.conv_out.conv.weight")[0] // 2,
    }


def tiny() -> Any:
    """Return an ``AutoencoderKLHunyuanVideo``: 16 channels, stride 8."""
    from diffusers import AutoencoderKLHunyuanVideo

    return AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1)


def tiny_15() -> Any:
    """Return an ``AutoencoderKLHunyuanVideo15``: 32 channels, stride 16."""
    from diffusers import AutoencoderKLHunyuanVideo15

    return AutoencoderKLHunyuanVideo15(block_out_channels=(8, 16, 32, 64, 64), layers_per_block=1)


VAE = Part(
    folder="vae",
    field="vae",
    class_path="diffusers.AutoencoderKLHunyuanVideo",
    rename=rename,
    config_of=config_of,
    tiny=tiny,
    tiny_name="hunyuan",
)
VAE_ENCODER = without_decoder(VAE)
VAE_15 = Part(
    folder="vae",
    field="vae",
    class_path="diffusers.AutoencoderKLHunyuanVideo15",
    rename=rename_15,
    config_of=config_of,
    tiny=tiny_15,
    tiny_name="hunyuan15",
)
VAE_15_ENCODER = without_decoder(VAE_15)


class HunyuanVaeEncoder:
    """Encodes with ``AutoencoderKLHunyuanVideo`` or ``AutoencoderKLHunyuanVideo15``.

    Args:
        vae: on its device and in its dtype.
        latent: geometry of the latents.
        convolution: class of the VAE's causal convolutions.
        norm: class of its RMS norms; empty for 1.0, which has group norms.
    """

    def __init__(
        self, vae: Any, latent: LatentSpec, *, convolution: str = "HunyuanVideoCausalConv3d", norm: str = ""
    ) -> None:
        from blissmask.families.vae.channel_norm import use_channel_norms
        from blissmask.families.vae.single_frame import use_image_path

        self._vae = vae
        self._latent = latent
        weight = vae.encoder.conv_in.conv.weight
        self._dtype, self._device = weight.dtype, weight.device
        use_channel_norms(vae.encoder, class_name=norm)
        use_image_path(vae.encoder, class_name=convolution, time_padding="replicate")

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return float32 latents_BCFHW as the VAE gives them, not yet times ``LatentSpec.train_scale``.

        The mode of the posterior: musubi-tuner draws a sample for 1.0, the mode is the same at every run.
        """
        import torch

        check_pixels(pixels_BCFHW, self._latent)
        pixels_BCFHW = pixels_BCFHW.to(self._device, self._dtype)
        # One by one: the attention mask of 1.5 in diffusers 0.42 fits no larger batch, and a batch is no faster.
        with torch.inference_mode():
            moments = [self._vae._encode(item) for item in torch.split(pixels_BCFHW, 1)]
        return torch.cat(moments)[:, : self._latent.channels].float()
