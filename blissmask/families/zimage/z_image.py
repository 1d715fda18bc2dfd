"""Z-Image: text to image, Base and Turbo."""

from __future__ import annotations

from functools import partial

from blissmask.cachefile.tensor_keys import FrameAxis
from blissmask.families.family import Family, Methods, Task
from blissmask.families.protocol import LatentSpec
from blissmask.families.vae import kl
from blissmask.families.zimage import names, parts

_LATENT = LatentSpec(
    channels=16,
    spatial_stride=8,
    temporal_stride=4,
    grid_multiple=16,
    train_scale=kl.FLUX_SCALE,
    train_shift=kl.FLUX_SHIFT,
    # As musubi-tuner's trainer of the family reads them.
    frame_axis=FrameAxis.NAMED,
)


def _methods() -> Methods:
    from blissmask.families.encoders.decoder_text import DecoderTextEncoder
    from blissmask.families.vae.kl import KlVaeEncoder
    from blissmask.families.zimage import denoiser, preview

    return Methods(
        vae=KlVaeEncoder,
        text=partial(DecoderTextEncoder, reading=parts.READING),
        captions=parts.CAPTIONS,
        denoiser=denoiser.ZImageDenoiser,
        preview=preview.PREVIEW,
    )


ARCHITECTURE = Family(
    name="z-image",
    cache_suffix="zi",
    metadata_name="z_image",
    latent=_LATENT,
    default_fps=16.0,
    # Source: musubi-tuner's documentation of the family.
    default_shift=2.0,
    modelspec="Z-Image/lora",
    lora_readers=names.LORA_READERS,
    tasks={
        "t2i": Task(
            latents=(parts.VAE_ENCODER,),
            text=(parts.TEXT_ENCODER, parts.TOKENIZER),
            template=(parts.CAPTIONS.around(""),),
            denoisers={"": parts.DENOISER},
            text_contents={"llm_embed": ("L", 2560)},
            methods=_methods,
            takes_videos=False,
        )
    },
)
