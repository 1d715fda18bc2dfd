"""Qwen-Image-Edit: edit one or more control pictures by instruction (2511, 2509 and the first)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from blissmask.families.family import Family, Methods, Task
from blissmask.families.files.part import Part
from blissmask.families.qwen import parts, qwen_image
from blissmask.families.qwen.templates import EDIT, EDIT_PLUS, ChatTemplate
from blissmask.families.vae.latent_encoder import latents_with_controls


def _methods(template: ChatTemplate) -> Methods:
    from blissmask.families.qwen import denoiser, preview, text

    return replace(
        qwen_image.methods(),
        encode_item=latents_with_controls,
        text=partial(text.QwenTextEncoder, template=template),
        captions=None,
        denoiser=partial(denoiser.QwenDenoiser, edits=True),
        # The first version edits a single picture.
        preview=preview.EDIT if template is EDIT else preview.EDIT_PLUS,
    )


def _task(template: ChatTemplate, denoiser: Part) -> Task:
    return Task(
        latents=(parts.VAE_ENCODER,),
        text=(parts.TEXT_ENCODER, parts.TOKENIZER),
        template=template.fingerprint,
        denoisers={"": denoiser},
        contents={"latents_control_0": (16, 1, "H", "W")},
        text_contents=qwen_image.TEXT_CONTENTS,
        methods=partial(_methods, template),
        takes_videos=False,
        control_range=parts.CONTROL_RANGE,
        text_sees_controls=True,
    )


ARCHITECTURE = Family(
    name="qwen-image-edit",
    cache_suffix="qie",
    # As musubi-tuner writes it; only the suffix tells edit caches apart.
    metadata_name="qwen_image",
    latent=qwen_image.LATENT,
    default_fps=16.0,
    default_shift=2.2,
    modelspec="Qwen-Image-Edit/lora",
    lora_readers=qwen_image.LORA_READERS,
    tasks={
        "edit-2511": _task(EDIT_PLUS, parts.EDIT_2511),
        "edit-2509": _task(EDIT_PLUS, parts.EDIT_2509),
        "edit": _task(EDIT, parts.EDIT),
    },
)
