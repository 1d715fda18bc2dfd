"""Wan 2.2 TI2V-5B: text or image to video, stride 16."""

from __future__ import annotations

from functools import partial

from blissmask.families.family import Family, Methods, Task
from blissmask.families.files.lora_readers import comfyui
from blissmask.families.protocol import LatentSpec
from blissmask.families.wan import parts

_CHANNELS = 48
_DENOISER = parts.text_denoiser(
    "wan22-5b",
    channels=_CHANNELS,
    published={
        "num_attention_heads": 24,
        "ffn_dim": 14336,
        "num_layers": 30,
        "in_channels": _CHANNELS,
        "out_channels": _CHANNELS,
    },
)


def _text_to_video() -> Methods:
    from blissmask.families.wan import preview, text, vae
    from blissmask.families.wan.first_frame import Wan5bDenoiser

    return Methods(
        vae=vae.WanVaeEncoder,
        text=text.Umt5TextEncoder,
        captions=text.CAPTIONS,
        denoiser=partial(Wan5bDenoiser, shows_first_frame=False),
        # Source of the defaults: the Wan 2.2 repository.
        preview=preview.text_preview(cfg_scale=5.0, shift=5.0, vae=parts.VAE_5B, timestep_per_token=True),
    )


def _image_to_video() -> Methods:
    from blissmask.families.wan import first_frame, preview, text, vae

    return Methods(
        vae=vae.WanVaeEncoder,
        encode_item=first_frame.encode_first_frame,
        text=text.Umt5TextEncoder,
        captions=text.CAPTIONS,
        denoiser=partial(first_frame.Wan5bDenoiser, shows_first_frame=True),
        preview=preview.image_preview(cfg_scale=5.0, shift=5.0, vae=parts.VAE_5B, timestep_per_token=True),
    )


ARCHITECTURE = Family(
    name="wan22-5b",
    # Other latents than every other Wan's, so a name of its own; musubi-tuner has none.
    cache_suffix="wan5b",
    metadata_name="wan22_5b",
    latent=LatentSpec(channels=_CHANNELS, spatial_stride=16, temporal_stride=4, grid_multiple=32),
    default_fps=24.0,
    default_shift=5.0,
    modelspec="wan2.2-5b/lora",
    lora_readers=(comfyui(),),
    tasks={
        "t2v": Task(
            latents=(parts.VAE_5B_ENCODER,),
            text=parts.TEXT,
            denoisers={"": _DENOISER},
            text_contents=parts.TEXT_CONTENTS,
            methods=_text_to_video,
        ),
        "i2v": Task(
            latents=(parts.VAE_5B_ENCODER,),
            text=parts.TEXT,
            denoisers={"": _DENOISER},
            contents={"latents_image": (_CHANNELS, 1, "H", "W")},
            text_contents=parts.TEXT_CONTENTS,
            methods=_image_to_video,
            # The first latent frame is the picture, in the place of a noisy one.
            shown_frames=1,
        ),
    },
)
