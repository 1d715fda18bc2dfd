"""Wan 2.1: text to video and images (1.3B, 14B), image to video, one-frame."""

from __future__ import annotations

from blissmask.families.family import Family
from blissmask.families.files.lora_readers import comfyui, musubi_tuner
from blissmask.families.wan.family import LATENT, image_to_video, text_to_video
from blissmask.families.wan.parts import image_denoiser, text_denoiser

ARCHITECTURE = Family(
    name="wan21",
    cache_suffix="wan",
    metadata_name="wan",
    latent=LATENT,
    default_fps=16.0,
    default_shift=3.0,
    modelspec="wan2.1/lora",
    lora_readers=(comfyui(), musubi_tuner()),
    # Guidance and shift of previews. Source: the Wan 2.1 repository.
    tasks={
        "t2v": text_to_video({"": text_denoiser("wan21-t2v")}, cfg_scale=5.0, shift=5.0),
        "i2v": image_to_video(
            {"": image_denoiser("wan21-i2v", sees_clip=True)}, cfg_scale=5.0, shift=5.0, sees_clip=True, one_frame=True
        ),
    },
)
