"""Wan 2.2 A14B: text to video and images, image to video; a high-noise and a low-noise expert."""

from __future__ import annotations

from blissmask.families.wan.family import WanFamily

ARCHITECTURE = WanFamily(
    name="wan22",
    modelspec="wan2.2/lora",
    # Noise levels where the experts change over. Source: the Wan 2.2 repository, `boundary_ratio` in the diffusers
    # pipelines.
    boundaries={"t2v": 0.875, "i2v": 0.9},
    sees_clip=False,
)
