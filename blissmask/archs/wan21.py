"""Wan 2.1: text to video and images (1.3B, 14B), image to video, one-frame."""

from __future__ import annotations

from blissmask.archs.protocol import Expert
from blissmask.archs.wan import WanFamily

_ONLY = (Expert("", (0.0, 1.0)),)

ARCHITECTURE = WanFamily(
    name="wan21",
    modelspec="wan2.1/lora",
    task_experts={"t2v": _ONLY, "i2v": _ONLY},
    sees_clip=True,
    one_frame_tasks=("i2v",),
)
