"""Where a family's weights come from: single files, a folder in diffusers layout, or a hub model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blissmask.config.sections.model_section import TINY, ModelSection
from blissmask.errors import ModelError, Problem, UsageError
from blissmask.networks.hub import hub_folder

_NO_FILES = ("model", "download")

WHERE_FILES_ARE = (
    "correct the paths under [model]; `examples/families.md` in the folder that blissmask was installed from says "
    "where to get the files of each family, and `--model tiny` tries all of it out without them"
)
"""How to mend that model files are not there."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a family's weights come from; each is None when the user did not name it.

    Attributes:
        model: a diffusers folder, a hub id, or ``tiny`` for miniature seeded instances of the real classes.
        vae: single-file VAE.
        text_encoder: single-file text encoder, or a transformers folder.
        text_encoder_2: single file of the second text encoder, for families with two.
        tokenizer: folder with the tokenizer's files.
        tokenizer_2: folder with the second tokenizer's files.
        dit: single-file denoiser (low-noise expert where a family has two).
        dit_high_noise: single-file high-noise expert.
        image_encoder: single-file image encoder (CLIP or SigLIP) of image-to-video models.
        download: whether a hub id may be fetched from the network.
    """

    model: str | None = None
    vae: Path | None = None
    text_encoder: Path | None = None
    tokenizer: Path | None = None
    dit: Path | None = None
    dit_high_noise: Path | None = None
    image_encoder: Path | None = None
    text_encoder_2: Path | None = None
    tokenizer_2: Path | None = None
    download: bool = False


def model_files(section: ModelSection) -> ModelFiles:
    """Return where the configuration says that a family's weights come from; with ``tiny`` no file counts."""
    if section.is_tiny:
        return ModelFiles(model=TINY)
    return ModelFiles(**{name: getattr(section, name) for name in ModelFiles.__dataclass_fields__})


def unread_files(section: ModelSection) -> list[Problem]:
    """Warn of files that are named beside ``tiny``: in one line, since trials of a real configuration are meant so."""
    if not section.is_tiny:
        return []
    named = [
        f"`{name}`" for name in ModelFiles.__dataclass_fields__ if getattr(section, name) and name not in _NO_FILES
    ]
    what = f'miniatures (`model = "{TINY}"`) stand for the files of [model], which are not read: {", ".join(named)}'
    return [Problem(what)] if named else []


def is_tiny(files: ModelFiles) -> bool:
    """Return whether the user asked for miniature models."""
    return files.model == TINY


def folder_of_part(files: ModelFiles, part: str, *, option: str) -> Path:
    """Return the folder of one part (``vae``, ``transformer`` ...) of ``files.model``; fetches it when allowed.

    Args:
        files: what the user named.
        part: sub-folder in diffusers layout.
        option: the flag that would name a single file instead, for messages.

    Raises:
        UsageError: no model and no single file was named.
        ModelError: the folder or the hub repository has no such part, or it is not here and may not be fetched.
        MachineError: the download failed.
    """
    if files.model is None:
        raise UsageError(
            f"no {part.replace('_', ' ')} given",
            fix=f"name a file with `{option}`, or a diffusers folder with `--model`",
        )
    root = Path(files.model)
    if not root.is_dir():
        root = hub_folder(files.model, patterns=[f"{part}/*"], needed=part, download=files.download)
    folder = root / part
    if not folder.is_dir():
        raise ModelError(f"the model has no `{part}` folder", where=[root], fix=f"name the file with `{option}`")
    return folder
