"""What the three models of FLUX.2 share: geometry, tasks, and what is cached."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from blissmask.cachefile.tensor_keys import FrameAxis
from blissmask.families.encoders.captions import TextReading
from blissmask.families.family import Family, Methods, Task
from blissmask.families.files.lora_readers import Spelling, comfyui, musubi_tuner, whole_layer
from blissmask.families.files.part import Part
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.flux2 import names, parts
from blissmask.families.protocol import LatentSpec
from blissmask.families.vae import kl_flux2
from blissmask.families.vae.latent_encoder import latents_alone, latents_with_controls

_LATENT = LatentSpec(
    channels=128, spatial_stride=16, temporal_stride=4, grid_multiple=16, frame_axis=FrameAxis.ABSENT, subcells=2
)
_CONTROL_RANGE = (1, 8)
"""Fewest and most reference pictures of an edit; the positions of the models leave room for more."""


def flux2(
    name: str,
    *,
    cache_suffix: str,
    metadata_name: str,
    modelspec: str,
    text: tuple[Part, Tokenizer],
    reading: TextReading,
    guided: bool = False,
) -> Family:
    """Return the family of one model.

    Args:
        name: as on the command line.
        cache_suffix, metadata_name, modelspec: musubi-tuner's.
        text: text encoder and tokenizer.
        reading: how text is read.
        guided: whether it was distilled for guidance.
    """

    def task(*, control_range: tuple[int, int] = (0, 0)) -> Task:
        edits = control_range[1] > 0
        return Task(
            latents=(kl_flux2.VAE_ENCODER,),
            text=text,
            template=(reading.captions.around("{}"), str(reading.taps), str(parts.ROWS)),
            denoisers={"": parts.denoiser(name, guided=guided)},
            contents={"latents_control_0": (_LATENT.channels, 1, "H", "W")} if edits else {},
            text_contents={"ctx_vec": (parts.ROWS, parts.TEXT_WIDTHS[name])},
            methods=partial(_methods, reading, control_range=control_range, guided=guided),
            takes_videos=False,
            control_range=control_range,
            # What musubi-tuner trains with.
            guidance_scale=1.0 if guided else None,
        )

    return Family(
        name=name,
        cache_suffix=cache_suffix,
        metadata_name=metadata_name,
        latent=_LATENT,
        default_fps=16.0,
        # diffusion-pipe's example for FLUX.2; `flux2_shift` gives 3.16 at 1024 x 1024.
        default_shift=3.0,
        modelspec=modelspec,
        # ComfyUI also looks for diffusers' names.
        lora_readers=(comfyui(whole_layer, Spelling("transformer.", names.DENOISER.to_diffusers)), musubi_tuner()),
        tasks={"t2i": task(), "edit": task(control_range=_CONTROL_RANGE)},
    )


def klein(size: str) -> Family:
    """Return the family of a klein model, ``4b`` or ``9b``."""
    return flux2(
        f"flux2-klein-{size}",
        cache_suffix=f"f2k{size}",
        metadata_name=f"flux_2_klein_{size}",
        modelspec=f"Flux.2-klein-{size}/lora",
        text=(parts.QWEN, parts.QWEN_TOKENIZER),
        reading=parts.KLEIN_TEXT,
    )


def _methods(reading: TextReading, *, control_range: tuple[int, int], guided: bool) -> Methods:
    from blissmask.families.encoders.decoder_text import DecoderTextEncoder
    from blissmask.families.flux2 import denoiser, preview

    edits = control_range[1] > 0
    return Methods(
        vae=kl_flux2.Flux2VaeEncoder,
        encode_item=latents_with_controls if edits else latents_alone,
        text=partial(DecoderTextEncoder, reading=reading),
        captions=reading.captions,
        denoiser=partial(denoiser.Flux2Denoiser, edits=edits),
        preview=replace(preview.DEV if guided else preview.KLEIN, pictures=control_range),
    )
