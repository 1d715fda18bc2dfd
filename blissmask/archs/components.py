"""One part of a model (VAE, text encoder, denoiser, image encoder): where it comes from, how it loads, what it is called by content.

A part comes from the single file the user named, else from a folder of the diffusers model, else it is a miniature.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from blissmask.archs.identity import path_identity
from blissmask.archs.loading import is_tiny, load_folder, part_of_model
from blissmask.archs.protocol import ModelFiles
from blissmask.archs.tiny import seeded, tiny_identity


class LoadsFile(Protocol):
    """Builds a model from a single file."""

    def __call__(self, path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return the model, frozen, or raise ModelError."""


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a model.

    Attributes:
        folder: its sub-folder in diffusers layout, e.g. ``vae``.
        field: the field of :class:`ModelFiles` that names its single file, e.g. ``text_encoder``.
        class_path: its diffusers or transformers class, e.g. ``diffusers.AutoencoderKLWan``.
        load_file: builds it from a single file.
        tiny: builds it in miniature.
        tiny_name: tells miniatures of other sizes apart, e.g. ``wan21``.
    """

    folder: str
    field: str
    class_path: str
    load_file: LoadsFile
    tiny: Callable[[], nn.Module]
    tiny_name: str

    def load(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return the part, frozen, in eval mode, on ``device``. Raises ModelError or UsageError."""
        source = self.source(files)
        if source is None:
            return seeded(self.tiny, device=device, dtype=dtype, name=self.identity(files))
        if source.is_dir():
            return load_folder(self._class().from_pretrained, source, device=device, dtype=dtype)
        return self.load_file(source, device=device, dtype=dtype)

    def identity(self, files: ModelFiles) -> str:
        """Return the name of its weights by content, without loading them."""
        source = self.source(files)
        return tiny_identity(self.tiny_name, self.folder) if source is None else path_identity(source)

    def source(self, files: ModelFiles) -> Path | None:
        """Return the file or folder it comes from; None for a miniature.

        Raises:
            UsageError: nothing was named.
            ModelError: the model has no such part, or it is a hub model that is not here and may not be fetched.
        """
        named: Path | None = getattr(files, self.field)
        if named is not None:
            return named
        if is_tiny(files):
            return None
        return part_of_model(files, self.folder, option=self.option)

    @property
    def option(self) -> str:
        """Return the flag that names its single file, e.g. ``--text-encoder``."""
        return f"--{self.field.replace('_', '-')}"

    def _class(self) -> Any:
        package, _, name = self.class_path.rpartition(".")
        return getattr(importlib.import_module(package), name)


def tokenizer_folders(files: ModelFiles, text_encoder: Component) -> list[Path]:
    """Return where a tokenizer may lie, the user's own choice first: ``--tokenizer``, beside the text encoder, in the model folder."""
    field = text_encoder.field.replace("text_encoder", "tokenizer")
    named: Path | None = getattr(files, field)
    source = text_encoder.source(files)
    places = [named] if named else []
    if source is not None and source.is_dir():
        places.append(source)
    if files.model is not None and not is_tiny(files):
        places.append(part_of_model(files, field, option=f"--{field.replace('_', '-')}"))
    return places


def tokenizer_identity(files: ModelFiles, text_encoder: Component) -> list[str]:
    """Return the name by content of the tokenizer that would be used; empty for a miniature, or one inside the weights file."""
    if text_encoder.source(files) is None:
        return []
    return [path_identity(folder) for folder in tokenizer_folders(files, text_encoder)[:1]]
