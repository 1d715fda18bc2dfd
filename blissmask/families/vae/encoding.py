"""What every VAE that only encodes needs: the half that encodes, and pixels that fit it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blissmask.families.files.part import Part
from blissmask.families.protocol import LatentSpec

if TYPE_CHECKING:
    from torch import Tensor

_DECODER = ("decoder", "post_quant_conv")


def without_decoder(vae: Part) -> Part:
    """Return ``vae`` as a part that never loads the half which encoding does not run, more than half of its memory."""
    return replace(vae, trim=_drop_decoder, ignore=(*vae.ignore, *(f"{name}." for name in _DECODER)))


def _drop_decoder(vae: Any) -> None:
    from torch import nn

    for name in _DECODER:
        if hasattr(vae, name):
            # An empty module instead of None: some VAEs count the convolutions of their decoder before they encode.
            setattr(vae, name, nn.Module())


def check_pixels(pixels_BCFHW: Tensor, latent: LatentSpec) -> None:
    """Refuse sizes that a VAE would round, and frames that it would drop, without an error.

    Frames must be ``temporal_stride * k + 1``, sides multiples of the spatial stride. Without this check some VAEs
    encode 8 frames as if they were 5, and others round 44 pixels up to 6 cells of 8.

    Raises:
        ValueError: our own mistake; the cache task chooses sizes that fit.
    """
    frames, height, width = pixels_BCFHW.shape[2:]
    if (frames - 1) % latent.temporal_stride or height % latent.spatial_stride or width % latent.spatial_stride:
        stride, time = latent.spatial_stride, latent.temporal_stride
        raise ValueError(f"{frames} frames of {width}x{height}: frames must be {time}k+1, sides multiples of {stride}")
