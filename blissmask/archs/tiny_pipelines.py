"""Complete miniature diffusers pipelines of the same weights as ``--model tiny``, for round trips of LoRA files and model folders."""

from __future__ import annotations

from typing import Any

import torch

from blissmask.archs import hunyuan15_text, hunyuan_text, hunyuan_video, hunyuan_video_15, qwen, qwen_image, tiny, wan, wan22_5b
from blissmask.archs.components import Component
from blissmask.archs.protocol import ModelFiles
from blissmask.archs.qwen_text import GENERATE, SPECIALS
from blissmask.archs.registry import load_architecture
from blissmask.archs.wan import WanFamily
from blissmask.errors import UsageError

_FILES = ModelFiles(model="tiny")


def tiny_pipeline(name: str, task: str = "") -> Any:
    """Return the text-to-image or text-to-video pipeline of family ``name`` in miniature, float32, on the CPU.

    Saved with ``save_pretrained`` it is a model folder in diffusers layout, tokenizers included.

    Raises:
        UsageError: there is no pipeline for this family.
    """
    makers = {
        "wan21": _wan,
        "wan22": _wan,
        "wan22-5b": _wan_5b,
        "qwen-image": _qwen,
        "hunyuan-video": _hunyuan,
        "hunyuan-video-15": _hunyuan_15,
    }
    if name not in makers:
        raise UsageError(f"no tiny pipeline for `{name}`", fix=f"there are {', '.join(makers)}")
    return makers[name](name, task)


def _wan(name: str, task: str) -> Any:
    from diffusers import WanImageToVideoPipeline, WanPipeline

    family = load_architecture(name)
    assert isinstance(family, WanFamily)
    chosen = task or family.tasks[0]
    experts = family.experts(chosen)
    parts = {"transformer": _loaded(family.denoiser(experts[0].name, chosen)), "vae": _loaded(wan.VAE), **_umt5()}
    if len(experts) > 1:
        parts["transformer_2"] = _loaded(family.denoiser(experts[1].name, chosen))
        parts["boundary_ratio"] = experts[0].timestep_range[0]
    if chosen == "t2v":
        return WanPipeline(**parts)
    if family.sees_clip:
        parts["image_encoder"] = _loaded(wan.IMAGE_ENCODER)
    return WanImageToVideoPipeline(**parts)


def _wan_5b(name: str, task: str) -> Any:
    from diffusers import WanPipeline

    return WanPipeline(transformer=_loaded(wan22_5b.DENOISER), vae=_loaded(wan22_5b.VAE), expand_timesteps=True, **_umt5())


def _umt5() -> dict[str, Any]:
    return {"text_encoder": _loaded(wan.TEXT_ENCODER), "tokenizer": tiny.byte_tokenizer(), "scheduler": _scheduler()}


def _qwen(name: str, task: str) -> Any:
    from diffusers import QwenImagePipeline

    return QwenImagePipeline(
        scheduler=_scheduler(),
        vae=_loaded(qwen.VAE),
        text_encoder=_loaded(qwen.text_encoder_part(GENERATE)),
        tokenizer=tiny.byte_tokenizer(specials=SPECIALS, end=False),
        transformer=_loaded(qwen_image.DENOISER),
    )


def _hunyuan(name: str, task: str) -> Any:
    from diffusers import HunyuanVideoPipeline

    return HunyuanVideoPipeline(
        text_encoder=_loaded(hunyuan_video.TEXT_ENCODER),
        tokenizer=tiny.byte_tokenizer(specials=hunyuan_text.SPECIALS, end=False),
        transformer=_loaded(hunyuan_video.DENOISER),
        vae=_loaded(hunyuan_video.VAE),
        scheduler=_scheduler(),
        text_encoder_2=_loaded(hunyuan_video.TEXT_ENCODER_2),
        tokenizer_2=tiny.byte_tokenizer(),
    )


def _hunyuan_15(name: str, task: str) -> Any:
    from diffusers import ClassifierFreeGuidance, HunyuanVideo15Pipeline
    from transformers import ByT5Tokenizer

    return HunyuanVideo15Pipeline(
        text_encoder=_loaded(hunyuan_video_15.TEXT_ENCODER),
        tokenizer=tiny.byte_tokenizer(specials=hunyuan15_text.SPECIALS, end=False),
        transformer=_loaded(hunyuan_video_15.DENOISER),
        vae=_loaded(hunyuan_video_15.VAE),
        scheduler=_scheduler(),
        text_encoder_2=_loaded(hunyuan_video_15.TEXT_ENCODER_2),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=1.0),
    )


def _scheduler() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=3.0)


def _loaded(part: Component) -> Any:
    return part.load(_FILES, device=torch.device("cpu"), dtype=torch.float32)
