"""The parts of FLUX.2, and the size of the denoiser from the shapes of tensors."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError
from blissmask.families.encoders import mistral, qwen3
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.flux2 import names, templates, tiny

CONTROL_RANGE = (1, 8)
"""Fewest and most reference pictures of an edit; the positions of the models leave room for more."""
TEXT_WIDTHS = {"flux2-klein-4b": 7680, "flux2-klein-9b": 12288, "flux2-dev": 15360}
"""Width of a text row of each model."""
_KIND = "FLUX.2 denoiser"
_TEXT = "context_embedder.weight"


def _denoiser_config(name: str, tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Flux2Transformer2DModel`` that fit ``tensors``; refuse the other models' files."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    text_width = shape(_TEXT)[1]
    for other, width in TEXT_WIDTHS.items():
        if width == text_width and other != name:
            raise ModelError(
                f"{path.name} is the denoiser of `{other}`", where=[path], fix=f"use `--arch {other}`, or another file"
            )
    width, in_channels = shape("x_embedder.weight")
    head = shape("transformer_blocks.0.attn.norm_q.weight")[0]
    embedder = "time_guidance_embed.{}_embedder.linear_1.weight"
    return {
        "in_channels": in_channels,
        "num_layers": count_of(tensors, "transformer_blocks."),
        "num_single_layers": count_of(tensors, "single_transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": text_width,
        "timestep_guidance_channels": shape(embedder.format("timestep"))[1],
        "mlp_ratio": shape("transformer_blocks.0.ff.linear_out.weight")[1] / width,
        # Time, row, column and text row share a head equally.
        "axes_dims_rope": (head // 4,) * 4,
        "guidance_embeds": embedder.format("guidance") in tensors,
    }


def _denoiser(name: str) -> Part:
    return Part(
        folder="transformer",
        field="dit",
        class_path="diffusers.Flux2Transformer2DModel",
        rename=names.rename_denoiser,
        config_of=partial(_denoiser_config, name),
        tiny=tiny.denoiser,
        tiny_name=name,
    )


# One layer more than are read in miniature: the last state has passed the final norm.
QWEN = qwen3.text_encoder("flux2-klein", layers=templates.KLEIN.taps[-1] + 1)
QWEN_TOKENIZER = Tokenizer(encoder=QWEN, specials=templates.KLEIN.captions.specials)
MISTRAL = mistral.text_encoder("flux2-dev", layers=templates.DEV.taps[-1] + 1)
MISTRAL_TOKENIZER = Tokenizer(encoder=MISTRAL, specials=templates.DEV.captions.specials)
KLEIN_4B = _denoiser("flux2-klein-4b")
KLEIN_9B = _denoiser("flux2-klein-9b")
DEV = replace(_denoiser("flux2-dev"), tiny=tiny.guided_denoiser)
