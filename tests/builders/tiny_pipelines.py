"""Complete miniature diffusers pipelines of the same weights as ``--model tiny``, for round trips of LoRA files and model folders."""

from __future__ import annotations

from typing import Any

import torch

from blissmask.errors import UsageError
from blissmask.families import tiny
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component
from blissmask.families.hunyuan import text as hunyuan_text
from blissmask.families.hunyuan15 import text as hunyuan15_text
from blissmask.families.previews import Parts, euler
from blissmask.families.qwen.templates import SPECIALS
from blissmask.families.registry import load_architecture
from blissmask.families.tasks import checked_task

_SHIFT = 3.0


def tiny_pipeline(name: str, task: str = "") -> Any:
    """Return the pipeline that family ``name`` draws previews with, in miniature, float32, on the CPU, and with its text encoders.

    Saved with ``save_pretrained`` it is a model folder in diffusers layout, tokenizers included.

    Raises:
        UsageError: there is no pipeline for this family.
    """
    tokenizers = _tokenizers(name)
    arch = load_architecture(name)
    task = checked_task(arch, task)
    drawing = arch.drawing(task)
    files, cpu = ModelFiles(model="tiny"), torch.device("cpu")
    denoisers = {
        expert.name: arch.load_denoiser(files, expert=expert.name, task=task, device=cpu, dtype=torch.float32).module
        for expert in arch.experts(task)
    }
    pipeline = drawing.pipeline(Parts(denoisers, _loaded(drawing.vae), euler(_SHIFT, 1)))
    encoders = [*drawing.text_encoders, *([drawing.picture_encoder.part] if drawing.picture_encoder else [])]
    pipeline.register_modules(**{part.folder: _loaded(part) for part in encoders}, **tokenizers)
    return pipeline


def _tokenizers(name: str) -> dict[str, Any]:
    match name:
        case "wan21" | "wan22" | "wan22-5b":
            return {"tokenizer": tiny.byte_tokenizer()}
        case "qwen-image":
            return {"tokenizer": tiny.byte_tokenizer(specials=SPECIALS, end=False)}
        case "hunyuan-video":
            return {
                "tokenizer": tiny.byte_tokenizer(specials=hunyuan_text.SPECIALS, end=False),
                "tokenizer_2": tiny.byte_tokenizer(),
            }
        case "hunyuan-video-15":
            from transformers import ByT5Tokenizer

            return {
                "tokenizer": tiny.byte_tokenizer(specials=hunyuan15_text.SPECIALS, end=False),
                "tokenizer_2": ByT5Tokenizer(),
            }
    raise UsageError(
        f"no tiny pipeline for `{name}`", fix="there is one for every family that needs no control pictures"
    )


def _loaded(part: Component) -> Any:
    return part.load_tiny(device=torch.device("cpu"), dtype=torch.float32)
