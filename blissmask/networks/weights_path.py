"""Find the weights that the user named, and hash them. Nothing is downloaded unless the user allowed it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from blissmask.config.sections.network import NetworkOptions
from blissmask.errors import ModelError
from blissmask.networks.hub import hub_folder
from blissmask.storage.content import file_sha256
from blissmask.storage.near_miss import near_miss_and

WEIGHT_PATTERNS = ("*.json", "*.safetensors", "*.txt", "README.md")
"""Files of a hub model that are downloaded: never pickles, never code."""


def model_file(options: NetworkOptions, *, backend: str, suffixes: tuple[str, ...], wanted: str) -> Path:
    """Return the file that ``options.model`` names.

    Args:
        options: the user's section of the configuration.
        backend: the backend's name, for messages.
        suffixes: accepted suffixes in lower case, e.g. ``(".pt", ".onnx")``.
        wanted: a description of the file, with an example of its name, for messages.

    Raises:
        ModelError: no file was named, or it is missing or of another kind.
    """
    example = f"--backend {backend} --model FILE{suffixes[0]}"
    if options.model is None:
        raise ModelError(
            f"`{backend}` needs {wanted}, and no file was named", fix=f"download it yourself and name it: `{example}`"
        )
    path = Path(options.model).expanduser()
    if not path.is_file():
        fix = near_miss_and(path, f"`{backend}` needs {wanted}: `{example}`", same_words=True)
        raise ModelError(f"there is no file `{options.model}`", fix=fix)
    if path.suffix.lower() not in suffixes:
        raise ModelError(
            f"`{backend}` does not read `{path.suffix}` files",
            where=[path],
            fix=f"name {wanted}: {' or '.join(suffixes)}",
        )
    return path


def model_folder(options: NetworkOptions, *, backend: str, example: str) -> Path:
    """Return the folder with ``config.json`` that ``options.model`` names.

    It names a folder, a hub model that is on this machine already, or one to download.

    Args:
        options: the user's section of the configuration.
        backend: the backend's name, for messages.
        example: a hub id that suits the backend, for messages.

    Raises:
        ModelError: nothing was named, it is no model folder, or it is a hub model that is not on this machine and may
            not be downloaded.
        MachineError: the download failed.
    """
    if options.model is None:
        raise ModelError(
            f"`{backend}` needs a model, and none was named",
            fix=f"name a folder: `--backend {backend} --model FOLDER`\n"
            f"or fetch one: `--backend {backend} --model {example} --download`",
        )
    folder = Path(options.model).expanduser()
    if not folder.is_dir():
        folder = hub_folder(options.model, patterns=WEIGHT_PATTERNS, needed="config.json", download=options.download)
    if not (folder / "config.json").is_file():
        raise ModelError(
            "the model folder holds no `config.json`", where=[folder], fix="name a folder in transformers layout"
        )
    return folder


def folder_sha256(folder: Path) -> str:
    """Return one sha256 over the files of a model folder that decide its results, names and contents, as hex digits."""
    digest = hashlib.sha256()
    for path in _deciding_files(folder):
        digest.update(f"{path.name}\n{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _deciding_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".json", ".safetensors", ".txt"):
            yield path
