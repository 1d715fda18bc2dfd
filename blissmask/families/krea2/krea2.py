"""Krea 2: text to image; train on RAW, draw with Turbo."""

from __future__ import annotations

from functools import partial

from blissmask.families.family import Family, Methods, Task
from blissmask.families.files.lora_readers import Spelling, comfyui, musubi_tuner, whole_layer
from blissmask.families.krea2 import names, parts
from blissmask.families.protocol import LatentSpec
from blissmask.families.qwen import parts as qwen


def _methods() -> Methods:
    from blissmask.families.encoders.decoder_text import DecoderTextEncoder
    from blissmask.families.krea2 import denoiser, preview
    from blissmask.families.wan.vae import WanVaeEncoder

    return Methods(
        vae=partial(WanVaeEncoder, convolution="QwenImageCausalConv3d", norm="QwenImageRMS_norm"),
        text=partial(DecoderTextEncoder, reading=parts.READING),
        captions=parts.CAPTIONS,
        denoiser=denoiser.Krea2Denoiser,
        preview=preview.PREVIEW,
    )


ARCHITECTURE = Family(
    name="krea2",
    cache_suffix="kr2",
    metadata_name="krea2",
    latent=LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16),
    default_fps=16.0,
    # Inference at 1024 px; the same in musubi-tuner's documentation.
    default_shift=2.5,
    modelspec="Krea-2/lora",
    # The loader of diffusers 0.42 refuses alpha.
    native_alpha=False,
    lora_readers=(comfyui(whole_layer, Spelling("transformer.", names.DENOISER.to_diffusers)), musubi_tuner()),
    tasks={
        "t2i": Task(
            latents=(qwen.VAE_ENCODER,),
            text=(parts.TEXT_ENCODER, parts.TOKENIZER),
            template=parts.TEMPLATE,
            denoisers={"": parts.DENOISER},
            text_contents={"krea2_vl_embed": ("L", len(parts.TAPS), 2560)},
            methods=_methods,
            takes_videos=False,
        )
    },
)
