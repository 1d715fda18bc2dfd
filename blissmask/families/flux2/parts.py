"""The parts of FLUX.2: how their texts are read, and the size of the denoiser from the shapes of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError
from blissmask.families.encoders import mistral, qwen3
from blissmask.families.encoders.captions import CaptionTemplate, TextReading
from blissmask.families.encoders.qwen_chat import SPECIALS, TAIL, captions_in_chat
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.flux2 import names

TEXT_WIDTHS = {"flux2-klein-4b": 7680, "flux2-klein-9b": 12288, "flux2-dev": 15360}
"""Width of a text row of each model."""
ROWS = 512
"""Rows of every text, padding included; a longer text is cut, its template too, as in diffusers."""


def _without_pictures(caption: str) -> str:
    """Return a caption without the mark that stands for a picture."""
    return caption.replace("[IMG]", "")


# Source: diffusers' two pipelines. The wording is the models' training data: a changed letter changes every embedding.
KLEIN_TEXT = TextReading(
    content="ctx_vec",
    captions=captions_in_chat(
        tokens=ROWS,
        # An empty thought: the chat template's `enable_thinking=False`.
        tail=f"{TAIL}<think>\n\n</think>\n\n",
        specials=(*SPECIALS, "<think>", "</think>"),
        counts_head=True,
        marks=False,
    ),
    taps=(9, 18, 27),
    keeps_head=True,
    padded=True,
)
DEV_TEXT = replace(
    KLEIN_TEXT,
    captions=CaptionTemplate(
        tokens=ROWS,
        # With the line feed in it, as in the original.
        head="<s>[SYSTEM_PROMPT]You are an AI that reasons about image descriptions. You give structured responses "
        "focusing on object relationships, object\nattribution and actions without speculation.[/SYSTEM_PROMPT][INST]",
        tail="[/INST]",
        specials=("<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"),
        counts_head=True,
        # The wording holds the token that begins a text.
        marks=False,
        clean=_without_pictures,
    ),
    taps=(10, 20, 30),
)


def _denoiser_config(name: str, tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``Flux2Transformer2DModel`` that fit ``tensors``; refuse the other models' files."""
    shape = partial(shape_of, tensors, source=path, kind="FLUX.2 denoiser")
    text_width = shape("context_embedder.weight")[1]
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


_PUBLISHED: Mapping[str, Mapping[str, int]] = {
    "flux2-klein-4b": {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24},
    "flux2-klein-9b": {"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32},
    # What diffusers' class builds by itself.
    "flux2-dev": {},
}
"""Sizes of the released models, from the configuration beside their weights; what :func:`denoiser` knows aside."""


def _tiny(*, guided: bool) -> Any:
    """Return a ``Flux2Transformer2DModel`` of one double and one single block."""
    from diffusers import Flux2Transformer2DModel

    return Flux2Transformer2DModel(
        num_layers=1,
        num_single_layers=1,
        num_attention_heads=1,
        joint_attention_dim=len(KLEIN_TEXT.taps) * qwen3.TINY_WIDTH,
        guidance_embeds=guided,
    )


def denoiser(name: str, *, guided: bool) -> Part:
    """Return the denoiser of family ``name``; ``guided`` where it was distilled for guidance."""
    return Part(
        folder="transformer",
        field="dit",
        class_path="diffusers.Flux2Transformer2DModel",
        rename=names.rename_denoiser,
        config_of=partial(_denoiser_config, name),
        tiny=partial(_tiny, guided=guided),
        tiny_name=name,
        published={**_PUBLISHED[name], "joint_attention_dim": TEXT_WIDTHS[name], "guidance_embeds": guided},
    )


# One layer more than are read in miniature: the last state has passed the final norm.
QWEN = qwen3.text_encoder("flux2-klein", layers=KLEIN_TEXT.taps[-1] + 1)
QWEN_TOKENIZER = Tokenizer(encoder=QWEN, specials=KLEIN_TEXT.captions.specials)
MISTRAL = mistral.text_encoder("flux2-dev", layers=DEV_TEXT.taps[-1] + 1)
MISTRAL_TOKENIZER = Tokenizer(encoder=MISTRAL, specials=DEV_TEXT.captions.specials)
