"""One part of a model (VAE, text encoder, denoiser, image encoder): where it comes from, how it loads, what it is called by content.

A part comes from the single file the user named, else from a folder of the diffusers model, else it is a miniature.
Naming it needs no torch, so that a fresh cache is known to be fresh without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from blissmask.families.files.identity import joined_identity, path_identity
from blissmask.families.files.model_files import ModelFiles, is_tiny, part_of_model
from blissmask.families.tiny import seeded, tiny_identity

if TYPE_CHECKING:
    import torch
    from torch import nn


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
        tiny: builds it in miniature.
        tiny_name: tells miniatures of other sizes apart, e.g. ``wan21``.
    """

    folder: str
    field: str
    class_path: str
    tiny: Callable[[], nn.Module]
    tiny_name: str

    def load(self, files: ModelFiles, load_file: LoadsFile, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return the part, frozen, in eval mode, on ``device``.

        Args:
            files: what the user named.
            load_file: builds the part from a single file.
            device, dtype: where it goes and what its weights become.

        Raises:
            ModelError, UsageError: as :meth:`source`, or the weights cannot be loaded.
        """
        source = self.source(files)
        if source is None:
            return self.load_tiny(device=device, dtype=dtype)
        if source.is_dir():
            from blissmask.families.files.loading import load_folder

            return load_folder(self._class().from_pretrained, source, device=device, dtype=dtype)
        return load_file(source, device=device, dtype=dtype)

    def load_tiny(self, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return the part in miniature."""
        return seeded(self.tiny, device=device, dtype=dtype, name=tiny_identity(self.tiny_name, self.folder))

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


def text_identity(files: ModelFiles, *text_encoders: Component) -> str:
    """Return the name by content of text encoders, each with its tokenizer."""
    return joined_identity(
        name for part in text_encoders for name in (part.identity(files), *tokenizer_identity(files, part))
    )
