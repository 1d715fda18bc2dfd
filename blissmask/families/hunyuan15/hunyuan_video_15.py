"""HunyuanVideo 1.5: text or image to video, stride 16."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from blissmask.families.family import Family, Methods, Task
from blissmask.families.files.lora_readers import musubi_tuner
from blissmask.families.hunyuan.names import COMFYUI
from blissmask.families.hunyuan15 import names, parts
from blissmask.families.vae import hunyuan

_TEXT = (parts.QWEN, parts.BYT5, parts.QWEN_TOKENIZER)
_TEXT_CONTENTS = {"vl_embed": ("L", 3584), "byt5_embed": ("L", 1472)}


def _text_to_video() -> Methods:
    from blissmask.families.hunyuan15 import denoiser, preview, text

    return Methods(
        vae=partial(hunyuan.HunyuanVaeEncoder, convolution="HunyuanVideo15CausalConv3d", norm="HunyuanVideo15RMS_norm"),
        text=text.Hunyuan15TextEncoder,
        captions=parts.CAPTIONS,
        denoiser=partial(denoiser.Hunyuan15Denoiser, shows_picture=False),
        preview=preview.TEXT_TO_VIDEO,
    )


def _image_to_video() -> Methods:
    from blissmask.families.hunyuan15 import denoiser, preview

    return replace(
        _text_to_video(),
        encode_item=denoiser.encode_first_frame,
        denoiser=partial(denoiser.Hunyuan15Denoiser, shows_picture=True),
        preview=preview.IMAGE_TO_VIDEO,
    )


ARCHITECTURE = Family(
    name="hunyuan-video-15",
    cache_suffix="hv15",
    metadata_name="hunyuan_video_1_5",
    latent=parts.LATENT,
    default_fps=24.0,
    # musubi-tuner's documentation trains with 2, though the released models sample with 5 to 9.
    default_shift=2.0,
    modelspec="hunyuan-video-1.5/lora",
    lora_readers=(COMFYUI, musubi_tuner(names.in_repository)),
    tasks={
        "t2v": Task(
            latents=(hunyuan.VAE_15_ENCODER,),
            text=_TEXT,
            denoisers={"": parts.DENOISER},
            text_contents=_TEXT_CONTENTS,
            methods=_text_to_video,
        ),
        "i2v": Task(
            latents=(hunyuan.VAE_15_ENCODER, parts.SIGLIP),
            text=_TEXT,
            denoisers={"": parts.DENOISER},
            contents={"latents_image": (33, "F", "H", "W"), "siglip": (729, 1152)},
            text_contents=_TEXT_CONTENTS,
            methods=_image_to_video,
        ),
    },
)
