"""Wan 2.1: text to video and images (1.3B, 14B), image to video, one-frame."""

from __future__ import annotations

from blissmask.families.wan.family import WanFamily

ARCHITECTURE = WanFamily(name="wan21", modelspec="wan2.1/lora", sees_clip=True, one_frame_tasks=("i2v",))
