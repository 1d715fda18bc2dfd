"""How Krea 2 draws previews: diffusers' Krea2Pipeline."""

from __future__ import annotations

from functools import partial
from typing import Any

from blissmask.families.denoisers.conditioning import padded_rows
from blissmask.families.previews.pipeline import PreviewPipeline, euler_by_size, without_encoders
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.qwen import parts as qwen

# The shift that grows with the size of the picture. Source: the scheduler that diffusers' Krea2Pipeline asks for.
_SHIFT_BY_SIZE = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 6400}


def _arguments(pipeline: Any, prompt: EncodedPrompt) -> dict[str, Any]:
    rows = [contents["krea2_vl_embed"] for contents in (prompt.text, prompt.negative) if contents is not None]
    # Both to one length: diffusers 0.42 makes positions for the rows of the prompt, and uses them for the other, too.
    text_BLTD, mask_BL = padded_rows(rows, rows[0].device, rows[0].dtype)
    arguments = {
        "prompt_embeds": text_BLTD[:1],
        "prompt_embeds_mask": mask_BL[:1],
        # Added to the prediction: 0 is no guidance, where `cfg_scale` has 1.
        "guidance_scale": prompt.settings.cfg_scale - 1,
        **prompt.size(),
    }
    if prompt.negative is not None:
        arguments |= {"negative_prompt_embeds": text_BLTD[1:], "negative_prompt_embeds_mask": mask_BL[1:]}
    return arguments


PREVIEW = PreviewPipeline(
    vae=qwen.VAE,
    pipeline=partial(without_encoders, "Krea2Pipeline"),
    arguments=_arguments,
    scheduler=partial(euler_by_size, by_size=_SHIFT_BY_SIZE),
    # The pipeline's 4.5.
    cfg_scale=5.5,
    shift=None,
)
