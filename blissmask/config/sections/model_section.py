"""[model] and [cache]: the model family, its files, and how a data set is encoded."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from blissmask.config.fields.kinds import DtypeName, FilePath, Switch, Text
from blissmask.config.fields.option import Section, option

_MODEL = "Model files"
_CACHE = "Cache"

TINY = "tiny"
"""What `model` is for miniature models with random weights."""


def _plain_task(value: Any) -> Any:
    """Take musubi-tuner's names of tasks, which hold the size of the model: ``t2v-14B``, ``i2v-A14B``.

    Here the model file says the size.
    """
    size = re.fullmatch(r"(t2v|i2v)-A?\d+(\.\d+)?B", value) if isinstance(value, str) else None
    return size[1] if size else value


Task = Annotated[Text, BeforeValidator(_plain_task)]


class ModelSection(Section):
    """[model]: the family and its files."""

    arch: Text | None = option(None, "Model family", panel=_MODEL, first=True)
    task: Task | None = option(
        None, "What the model does, e.g. t2v or i2v; the family's first when not given", panel=_MODEL
    )
    model: Text | None = option(
        None, "A diffusers folder, a hub id, or `tiny` for a miniature with random weights", panel=_MODEL, first=True
    )
    vae: FilePath | None = option(None, "VAE file", panel=_MODEL)
    text_encoder: FilePath | None = option(None, "Text encoder file or folder", panel=_MODEL)
    tokenizer: FilePath | None = option(None, "Folder of the tokenizer", panel=_MODEL)
    text_encoder_2: FilePath | None = option(
        None, "Second text encoder file or folder, for families with two", panel=_MODEL
    )
    tokenizer_2: FilePath | None = option(None, "Folder of the second tokenizer", panel=_MODEL)
    dit: FilePath | None = option(
        None, "Denoiser file (low-noise expert where there are two)", panel=_MODEL, first=True
    )
    dit_high_noise: FilePath | None = option(None, "High-noise expert file", panel=_MODEL)
    image_encoder: FilePath | None = option(None, "Image encoder file of image-to-video models", panel=_MODEL)
    download: Switch = option(False, "Allow fetching a hub model from the network", panel=_MODEL)
    device: Text = option("auto", "Device to compute on: auto, cpu, cuda, cuda:1", panel=_MODEL)
    vae_dtype: DtypeName | None = option(None, "Precision of the VAE", panel=_MODEL, default_text="float32")

    @property
    def is_tiny(self) -> bool:
        """Return whether the models are miniatures; then files that are named besides do not count."""
        return self.model == TINY


class CacheSection(Section):
    """[cache]: encode the data set once."""

    latents_only: Switch = option(False, "Encode pictures, leave captions", panel=_CACHE)
    text_only: Switch = option(False, "Encode captions, leave pictures", panel=_CACHE)
    one_frame: Switch = option(
        False, "One-frame training: control pictures and one target picture", panel=_CACHE, first=True
    )
    keep_cache: Switch = option(False, "Keep our cache files that no item needs any more", panel=_CACHE)
    empty_mask: Literal["warn", "error", "full"] = option(
        "warn", "When a mask is zero everywhere", panel=_CACHE, first=True
    )
    sheet: FilePath | None = option(
        None,
        "Contact sheet of what will be trained, `.png` or `.html`, drawn before encoding",
        panel=_CACHE,
        first=True,
    )
    captions: Literal["transformers"] | None = option(
        None,
        "First write captions of photos without one, with the vision-language model in `caption_model`",
        panel=_CACHE,
        first=True,
    )
    caption_model: FilePath | None = option(
        None, "Folder of a vision-language model with its processor", panel=_CACHE, first=True
    )
    caption_prompt: Text = option(
        "Describe this photo in one sentence: clothes, place, light, pose, and what else is in it. "
        "Leave out face, hair and body of the person.",
        "What that model is asked; may hold {trigger} and {class_word}",
        panel=_CACHE,
        default_text="clothes, place, light and pose in one sentence",
    )
    verify: Switch = option(
        False,
        "Read every file whole and redo what does not match, instead of trusting sizes and times",
        panel=_CACHE,
        first=True,
    )
    skip_existing: Switch = option(
        False, "Accepted from musubi-tuner; fresh entries are always skipped", panel=_CACHE, hidden=True
    )
