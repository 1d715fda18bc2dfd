"""Check the pixels that enter a VAE: sizes that VAEs would floor, ceil or drop frames of in silence are refused."""

from __future__ import annotations

from torch import Tensor

from blissmask.families.protocol import LatentSpec


def check_pixels(pixels_BCFHW: Tensor, latent: LatentSpec) -> None:
    """Raise ValueError, our own mistake, unless frames are ``temporal_stride * k + 1`` and sides multiples of the spatial stride.

    Without it Wan's VAE encodes 8 frames as if they were 5, and Hunyuan's rounds 44 pixels up to 6 cells.
    """
    frames, height, width = pixels_BCFHW.shape[2:]
    if (frames - 1) % latent.temporal_stride or height % latent.spatial_stride or width % latent.spatial_stride:
        stride, time = latent.spatial_stride, latent.temporal_stride
        raise ValueError(f"{frames} frames of {width}x{height}: frames must be {time}k+1, sides multiples of {stride}")
