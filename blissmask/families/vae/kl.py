"""diffusers' ``AutoencoderKL``, which several families share: its names in LDM's layout, its sizes, its encoder.

ComfyUI and the original repositories publish it in the names of latent-diffusion (LDM): levels of the decoder count
from the largest grid, and attention in the middle is made of 1x1 convolutions.

B items, C channels, H and W rows and columns.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.families.files.keymap import KeyMap
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.protocol import LatentSpec
from blissmask.families.vae.encoding import check_pixels

if TYPE_CHECKING:
    from torch import Tensor

FLUX_SCALE, FLUX_SHIFT = 0.3611, 0.1159
"""FLUX.1's latents are (what its VAE gives - shift) * scale. Source: the VAE's configuration; no tensor tells it."""
_KIND = "AutoencoderKL"
_ATTENTION = (("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"))


def ldm_names(levels: int) -> KeyMap:
    """Return the table between LDM's names and those of diffusers, for a VAE of so many levels."""
    pairs = [
        # FLUX.2 keeps them inside the halves.
        ("encoder.quant_conv", "quant_conv"),
        ("decoder.post_quant_conv", "post_quant_conv"),
    ]
    for half in ("encoder", "decoder"):
        pairs += [
            *((f"{half}.mid.attn_1.{ldm}", f"{half}.mid_block.attentions.0.{ours}") for ldm, ours in _ATTENTION),
            *((f"{half}.mid.block_{number + 1}", f"{half}.mid_block.resnets.{number}") for number in range(2)),
            (f"{half}.norm_out", f"{half}.conv_norm_out"),
        ]
    for level in range(levels):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{levels - 1 - level}"
        pairs += [
            *_block(f"encoder.down.{level}", down),
            *_block(f"decoder.up.{level}", up),
            (f"encoder.down.{level}.downsample", f"{down}.downsamplers.0"),
            (f"decoder.up.{level}.upsample", f"{up}.upsamplers.0"),
        ]
    return KeyMap(pairs)


def _block(ldm: str, ours: str) -> list[tuple[str, str]]:
    shortcut = (f"{ldm}.block.{{}}.nin_shortcut", f"{ours}.resnets.{{}}.conv_shortcut")
    return [shortcut, (f"{ldm}.block.{{}}", f"{ours}.resnets.{{}}")]


def rename(tensors: Tensors) -> Tensors:
    """Return the tensors of a VAE under diffusers' names, from LDM's names or its own."""
    levels = count_of(tensors, "encoder.down.")
    if not levels:
        return tensors
    renamed = ldm_names(levels).rename(tensors)
    # Convolutions of one pixel in the file, linear layers in diffusers.
    return {
        name: tensor.reshaped(tensor.shape[:2]) if "attentions" in name and len(tensor.shape) > 2 else tensor
        for name, tensor in renamed.items()
    }


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``AutoencoderKL`` that fit ``tensors`` (diffusers names)."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    levels = max(1, count_of(tensors, "encoder.down_blocks."))
    return {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(
            shape(f"encoder.down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)
        ),
        "layers_per_block": count_of(tensors, "encoder.down_blocks.0.resnets."),
        "latent_channels": shape("encoder.conv_out.weight")[0] // 2,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
    }


def use_smaller_tiles(vae: Any) -> None:
    """Make tiles of at most 512 pixels: released models have 1024, the size of most pictures that did not fit whole."""
    side = min(512, vae.tile_sample_min_size)
    vae.tile_latent_min_size = vae.tile_latent_min_size * side // vae.tile_sample_min_size
    vae.tile_sample_min_size = side


class KlVaeEncoder:
    """Encodes pictures with ``AutoencoderKL`` and its like, as a :class:`blissmask.families.protocol.PixelEncoder`.

    Args:
        vae: on its device and in its dtype.
        latent: geometry of the latents.
    """

    def __init__(self, vae: Any, latent: LatentSpec) -> None:
        self._vae = vae
        self._latent = latent
        weight = vae.encoder.conv_in.weight
        self._dtype, self._device = weight.dtype, weight.device

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return float32 latents_BC1HW as the VAE gives them, not yet normalised: the mode of the posterior."""
        import torch

        check_pixels(pixels_BCFHW, self._latent)
        with torch.inference_mode():
            moments_BCHW = self._vae._encode(pixels_BCFHW.squeeze(2).to(self._device, self._dtype))
        return moments_BCHW.chunk(2, dim=1)[0].unsqueeze(2).float()  # type: ignore[no-any-return]
