"""Wan 2.2 A14B: text to video and images, image to video; a high-noise and a low-noise expert."""

from __future__ import annotations

from blissmask.families.family import Family
from blissmask.families.files.lora_readers import comfyui, musubi_tuner
from blissmask.families.wan.family import LATENT, image_to_video, text_to_video
from blissmask.families.wan.parts import experts, image_denoiser, text_denoiser

ARCHITECTURE = Family(
    name="wan22",
    cache_suffix="wan",
    metadata_name="wan",
    latent=LATENT,
    default_fps=16.0,
    default_shift=3.0,
    modelspec="wan2.2/lora",
    lora_readers=(comfyui(), musubi_tuner()),
    # Guidance and shift of previews: the Wan 2.2 repository, which uses 4 and 3 for its two experts. Boundaries, the
    # noise levels where the experts change over: the same repository, `boundary_ratio` in the diffusers pipelines.
    tasks={
        "t2v": text_to_video(experts(text_denoiser("wan22-t2v")), cfg_scale=3.5, shift=12.0, boundary=0.875),
        "i2v": image_to_video(
            experts(image_denoiser("wan22-i2v", sees_clip=False)),
            cfg_scale=3.5,
            shift=5.0,
            boundary=0.9,
            sees_clip=False,
        ),
    },
)
