"""Complete miniature diffusers pipelines of the same weights as ``--model tiny``: LoRA round trips, model folders."""

from __future__ import annotations

from typing import Any

import torch

from blissmask.families.files.part import Part
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.previews.pipeline import PipelineParts, euler
from tests.builders.families import CPU, NAMES, TINY, family_of

_SHIFT = 3.0
PIPELINES = [name for name in NAMES if not family_of(name).task.text_sees_controls]
"""Families whose pipeline needs nothing but a prompt by default: the others want an image processor too."""


def tiny_pipeline(name: str, task: str = "") -> Any:
    """Return the pipeline that family ``name`` draws previews with: in miniature, float32, with its text encoders.

    Saved with ``save_pretrained`` it is a model folder in diffusers layout, tokenizers included.
    """
    family = family_of(name, task)
    preview = family.preview_pipeline()
    denoisers = {
        expert.name: family.load_denoiser(TINY, expert, device=CPU, dtype=torch.float32).module
        for expert in family.experts
    }
    pipeline = preview.pipeline(PipelineParts(denoisers, _loaded(preview.vae), euler(_SHIFT, 1)))
    tokenizers = [part for part in family.task.text if isinstance(part, Tokenizer)]
    modules = {part.folder: _loaded(part) for part in family.task.encoders[1:]}
    modules |= {tokenizer.folder: tokenizer.load(TINY) for tokenizer in tokenizers}
    pipeline.register_modules(**modules)
    return pipeline


def _loaded(part: Part) -> Any:
    return part.load_tiny(device=CPU, dtype=torch.float32)
