"""HunyuanVideo: text to video and images."""

from __future__ import annotations

from blissmask.families.family import Family, Methods, Task
from blissmask.families.files.lora_readers import musubi_tuner
from blissmask.families.hunyuan import names, parts
from blissmask.families.protocol import LatentSpec
from blissmask.families.vae import hunyuan


def _methods() -> Methods:
    from blissmask.families.hunyuan import denoiser, preview, text

    return Methods(
        vae=hunyuan.HunyuanVaeEncoder,
        text=text.HunyuanTextEncoder,
        captions=parts.CAPTIONS,
        denoiser=denoiser.HunyuanDenoiser,
        preview=preview.PREVIEW,
    )


ARCHITECTURE = Family(
    name="hunyuan-video",
    cache_suffix="hv",
    metadata_name="hunyuan_video",
    # The cached latents times the scale have the spread of noise. Source: the VAE's configuration.
    latent=LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16, train_scale=0.476986),
    default_fps=24.0,
    default_shift=7.0,
    modelspec="hunyuan-video/lora",
    lora_readers=(names.COMFYUI, musubi_tuner()),
    tasks={
        "t2v": Task(
            latents=(hunyuan.VAE_ENCODER,),
            text=(parts.LLAMA, parts.LLAMA_TOKENIZER, parts.CLIP, parts.CLIP_TOKENIZER),
            denoisers={"": parts.DENOISER},
            text_contents={"llm": (256, 4096), "llm_mask": (256,), "clipL": (768,)},
            methods=_methods,
            guidance_scale=1.0,
        )
    },
)
