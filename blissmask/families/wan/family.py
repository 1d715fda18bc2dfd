"""The tasks that Wan 2.1 and Wan 2.2 A14B share, on the VAE of stride 8."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from blissmask.families.family import Methods, Task
from blissmask.families.files.part import Part
from blissmask.families.protocol import LatentSpec
from blissmask.families.wan import parts

LATENT = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16)


def text_to_video(
    denoisers: Mapping[str, Part], *, cfg_scale: float, shift: float, boundary: float | None = None
) -> Task:
    """Return the task of drawing from text.

    Args:
        denoisers: expert name -> denoiser.
        cfg_scale, shift: defaults of previews.
        boundary: noise level from which the high-noise expert works, where there are two.
    """
    return Task(
        latents=(parts.VAE_ENCODER,),
        text=parts.TEXT,
        denoisers=denoisers,
        boundary=boundary,
        text_contents=parts.TEXT_CONTENTS,
        methods=partial(_text_methods, cfg_scale=cfg_scale, shift=shift, boundary=boundary),
    )


def image_to_video(
    denoisers: Mapping[str, Part],
    *,
    cfg_scale: float,
    shift: float,
    boundary: float | None = None,
    sees_clip: bool,
    one_frame: bool = False,
) -> Task:
    """Return the task of drawing on from a first frame.

    Args:
        denoisers, cfg_scale, shift, boundary: as :func:`text_to_video`.
        sees_clip: whether the denoiser sees CLIP features beside the latents (2.1 does, 2.2 does not).
        one_frame: whether one-frame training works.
    """
    contents = {"latents_image": (20, "F", "H", "W")}
    return Task(
        latents=(parts.VAE_ENCODER, parts.CLIP) if sees_clip else (parts.VAE_ENCODER,),
        text=parts.TEXT,
        denoisers=denoisers,
        boundary=boundary,
        contents={**contents, "clip": (257, 1280)} if sees_clip else contents,
        text_contents=parts.TEXT_CONTENTS,
        methods=partial(_image_methods, cfg_scale=cfg_scale, shift=shift, boundary=boundary, sees_clip=sees_clip),
        one_frame=one_frame,
    )


def _text_methods(*, cfg_scale: float, shift: float, boundary: float | None) -> Methods:
    from blissmask.families.wan import denoiser, preview, text, vae

    return Methods(
        vae=vae.WanVaeEncoder,
        text=text.Umt5TextEncoder,
        captions=text.CAPTIONS,
        denoiser=denoiser.WanDenoiser,
        preview=preview.text_preview(cfg_scale=cfg_scale, shift=shift, boundary=boundary),
    )


def _image_methods(*, cfg_scale: float, shift: float, boundary: float | None, sees_clip: bool) -> Methods:
    from blissmask.families.wan import denoiser, image_to_video, preview, text, vae

    return Methods(
        vae=vae.WanVaeEncoder,
        encode_item=image_to_video.encode_first_frame,
        text=text.Umt5TextEncoder,
        captions=text.CAPTIONS,
        denoiser=denoiser.WanDenoiser,
        preview=preview.image_preview(cfg_scale=cfg_scale, shift=shift, boundary=boundary, sees_clip=sees_clip),
    )
