"""Wan 2.2 A14B: text to video and images, image to video; a high-noise and a low-noise expert."""

from __future__ import annotations

from blissmask.archs.protocol import Expert
from blissmask.archs.wan import WanFamily


def _experts(boundary: float) -> tuple[Expert, ...]:
    return (Expert("high", (boundary, 1.0)), Expert("low", (0.0, boundary)))


ARCHITECTURE = WanFamily(
    name="wan22",
    modelspec="wan2.2/lora",
    # Noise levels where the experts change over. Source: the Wan 2.2 repository, `boundary_ratio` in the diffusers pipelines.
    task_experts={"t2v": _experts(0.875), "i2v": _experts(0.9)},
    sees_clip=False,
)
