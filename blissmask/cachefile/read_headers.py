"""Read the headers of latent files, without torch and without the tensors, so that a data set is listed quickly."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from blissmask.cachefile.entry import CacheHeader, SharedHeader
from blissmask.cachefile.file_names import parse_latent_name, text_name
from blissmask.cachefile.metadata import FRAME_COUNT, OWN_METADATA, UNASKED_METADATA
from blissmask.cachefile.read_file import REMAKE, opened
from blissmask.cachefile.tensor_keys import LATENTS, parse_key
from blissmask.errors import CacheError, Hint, Problem
from blissmask.storage.seen import input_state
from blissmask.storage.short_path import ShortPath

_Known: TypeAlias = dict[tuple[object, object], SharedHeader]
"""By contents and keys."""


def list_headers(folder: Path, cache_suffix: str) -> list[CacheHeader]:
    """Return the headers of the latent files of one family in ``folder``, sorted by file name.

    Args:
        folder: the cache folder.
        cache_suffix: the family's short name in file names, e.g. ``wan``.

    Raises:
        CacheError: the folder cannot be read, or files with such names are truncated, damaged or hold no latents; the
            error names all of them.
    """
    ending = f"_{cache_suffix}.safetensors"
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name for entry in entries if entry.name.endswith(ending) and not entry.name.startswith(".")
            )
    except OSError as error:
        raise CacheError(
            f"cannot read the cache: {error.strerror}", where=[folder], fix=Hint("run `{command}` first", "cache")
        ) from error
    headers: list[CacheHeader] = []
    problems: list[Problem] = []
    known: _Known = {}
    for name in names:
        try:
            headers.append(read_header(folder / name, cache_suffix, known))
        except CacheError as error:
            problems.extend(error.problems)
    if problems:
        raise CacheError.several(_merged(problems))
    return headers


def read_header(path: Path, cache_suffix: str, known: _Known | None = None) -> CacheHeader:
    """Return the header of the latent file ``path``.

    Args:
        path: the file.
        cache_suffix: the family's short name in file names.
        known: what the headers read before have in common; what this one adds goes in.

    Raises:
        CacheError: the file is missing, truncated or damaged, or its name or keys are not those of latents.
    """
    latent_state = input_state(path)
    with opened(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
        contents = _shapes(file)
    name = parse_latent_name(path.name, cache_suffix, is_clip=FRAME_COUNT in metadata)
    if name is None:
        raise CacheError(
            "not the name of a latent file", where=[path], fix="move files of other kinds out of the cache folder"
        )
    latent_shape = _latent_shape(contents)
    if latent_shape is None:
        raise CacheError("no latents in the cache file", where=[path], fix=REMAKE)
    keys = tuple(sorted(key for key in metadata if key not in UNASKED_METADATA))
    shared = SharedHeader(latent_shape, contents, keys)
    if known is not None:
        shared = known.setdefault((tuple(contents.items()), keys), shared)
    text_path = path.parent / text_name(name.stem, cache_suffix)
    return CacheHeader(
        file=ShortPath.of(path),
        stem=name.stem,
        cache_suffix=cache_suffix,
        shared=shared,
        # Most files have one of a few values.
        values=tuple(metadata[key] if key in OWN_METADATA else sys.intern(metadata[key]) for key in keys),
        states=latent_state + input_state(text_path),
    )


def _shapes(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return content name -> (key in the file, shape) of an open file."""
    keys = file.keys()
    return {parse_key(key).content: (key, tuple(file.get_slice(key).get_shape())) for key in keys}


def _latent_shape(contents: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[int, int, int, int] | None:
    """Return (C, f, h, w) of the latents; None when there are none, or they have another number of axes."""
    _, shape = contents.get(LATENTS, ("", ()))
    if len(shape) == 4:
        channels, frames, rows, columns = shape
        return channels, frames, rows, columns
    if len(shape) == 3:
        # See ``tensor_keys.FrameAxis``.
        channels, rows, columns = shape
        return channels, 1, rows, columns
    return None


def _merged(problems: list[Problem]) -> list[Problem]:
    """Merge problems with the same sentence and the same fix into one that lists all places."""
    places: dict[tuple[str, str | Hint], list[str]] = {}
    for problem in problems:
        places.setdefault((problem.what, problem.fix), []).extend(problem.where)
    return [Problem(what, tuple(where), fix) for (what, fix), where in places.items()]
