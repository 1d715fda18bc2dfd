"""Qwen-Image: text to image, the release 2512 too."""

from __future__ import annotations

from functools import partial

from blissmask.families.family import Family, Methods, Task
from blissmask.families.files.lora_readers import Spelling, comfyui, musubi_tuner, whole_layer
from blissmask.families.protocol import LatentSpec
from blissmask.families.qwen import parts
from blissmask.families.qwen.templates import CAPTIONS, GENERATE

LATENT = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16)
LORA_READERS = (comfyui(whole_layer, Spelling(""), Spelling("transformer.")), musubi_tuner())
"""ComfyUI also looks for diffusers' names, which are the original repository's."""
TEXT_CONTENTS = {"vl_embed": ("L", 3584)}


def methods() -> Methods:
    """Return how Qwen-Image computes; the Edit models replace what they do otherwise."""
    from blissmask.families.qwen import denoiser, preview, text
    from blissmask.families.wan.vae import WanVaeEncoder

    return Methods(
        vae=partial(WanVaeEncoder, convolution="QwenImageCausalConv3d", norm="QwenImageRMS_norm"),
        text=partial(text.QwenTextEncoder, template=GENERATE),
        captions=CAPTIONS,
        denoiser=partial(denoiser.QwenDenoiser, edits=False),
        preview=preview.TEXT_TO_IMAGE,
    )


ARCHITECTURE = Family(
    name="qwen-image",
    cache_suffix="qi",
    # As musubi-tuner writes it; only the suffix tells edit caches apart.
    metadata_name="qwen_image",
    latent=LATENT,
    default_fps=16.0,
    default_shift=2.2,
    modelspec="Qwen-Image/lora",
    lora_readers=LORA_READERS,
    tasks={
        "t2i": Task(
            latents=(parts.VAE_ENCODER,),
            text=(parts.BLIND_TEXT_ENCODER, parts.TOKENIZER),
            template=GENERATE.fingerprint,
            denoisers={"": parts.DENOISER},
            text_contents=TEXT_CONTENTS,
            methods=methods,
            takes_videos=False,
        )
    },
)
