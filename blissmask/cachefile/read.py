"""Read cache entries, ours and those of musubi-tuner and blissful-tuner: headers first, which needs no torch, tensors when asked.

C channels; f, h, w latent frames, rows, columns.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from blissmask.cachefile.entry import CacheEntry, CacheHeader
from blissmask.cachefile.layout import (
    FRAME_COUNT,
    LATENTS,
    MASK_REGIONS,
    MASK_WEIGHTS,
    parse_key,
    parse_latent_name,
    text_name,
)
from blissmask.errors import CacheError, Hint, Problem

if TYPE_CHECKING:
    from torch import Tensor

_REMAKE = Hint("remove them, then run `{command}` again", "cache")


def list_headers(folder: Path, cache_suffix: str) -> list[CacheHeader]:
    """Return what the latent files of one family in ``folder`` say of themselves, sorted by file name; tensors are not read.

    Args:
        folder: the cache folder.
        cache_suffix: the family's short name in file names, e.g. ``wan``.

    Raises:
        CacheError: the folder cannot be read, or files with such names are truncated, damaged or hold no latents; names
            all of them.
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
    for name in names:
        try:
            headers.append(read_header(folder / name, cache_suffix))
        except CacheError as error:
            problems.extend(error.problems)
    if problems:
        raise CacheError.several(_merged(problems))
    return headers


def read_header(path: Path, cache_suffix: str) -> CacheHeader:
    """Return what the latent file ``path`` says of itself.

    Raises:
        CacheError: the file is missing, truncated, damaged, or its name or keys are not those of latents.
    """
    with _opened(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
        contents = _shapes(file)
    name = parse_latent_name(path.name, cache_suffix, is_clip=FRAME_COUNT in metadata)
    if name is None:
        raise CacheError(
            "not the name of a latent file", where=[path], fix="move files of other kinds out of the cache folder"
        )
    _, shape = contents.get(LATENTS, ("", ()))
    # FLUX.2 and other image-only families leave the frame axis out.
    frames_last = shape if len(shape) == 4 else (shape[0], 1, *shape[1:]) if len(shape) == 3 else ()
    if len(frames_last) != 4:
        raise CacheError("no latents in the cache file", where=[path], fix=_REMAKE)
    return CacheHeader(
        path, path.parent / text_name(name.stem, cache_suffix), name.stem, _four(frames_last), contents, metadata
    )


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of any cache file, without its tensors.

    Raises:
        CacheError: the file is missing, truncated or damaged.
    """
    with _opened(path) as file:
        return dict(file.metadata() or {})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a cache file by their key.

    Raises:
        CacheError: the file is missing, truncated or damaged.
    """
    with _opened(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (safe_open is no mapping)


def is_sound(path: Path) -> bool:
    """Read a whole cache file; say whether it is undamaged and all of its values are finite."""
    try:
        tensors = read_tensors(path)
    except CacheError:
        return False
    return all(bool(tensor.float().isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point())


def load_entry(header: CacheHeader) -> CacheEntry:
    """Read the tensors of one item, latents and text.

    Mask weights are read under every key that other tools use, in any float dtype, with 3 or 4 dimensions, and with one
    frame for all; they come out as float32 of shape (1, f, h, w).

    Raises:
        CacheError: a file is missing, truncated or damaged, or the mask does not fit the latents.
    """
    named = _by_content(header.path)
    latents = named.pop(LATENTS)
    latents_Cfhw = latents if latents.ndim == 4 else latents.unsqueeze(1)
    weights = named.pop(MASK_WEIGHTS, None)
    regions = named.pop(MASK_REGIONS, None)
    named.update(_by_content(header.text_path))
    return CacheEntry(
        latents_Cfhw=latents_Cfhw,
        weights_1fhw=None if weights is None else _on_grid(weights, 1, latents_Cfhw, header.path),
        regions_4fhw=None if regions is None else _on_grid(regions, 4, latents_Cfhw, header.path),
        conditioning=named,
    )


def _by_content(path: Path) -> dict[str, Tensor]:
    return {parse_key(key).content: tensor for key, tensor in read_tensors(path).items()}


def _on_grid(tensor: Tensor, planes: int, latents_Cfhw: Tensor, path: Path) -> Tensor:
    """Bring a mask tensor to float32 (planes, f, h, w); raise CacheError when it cannot belong to the latents."""
    frames, rows, columns = latents_Cfhw.shape[1:]
    fits = tensor.is_floating_point() and tensor.ndim in (3, 4) and tuple(tensor.shape[-2:]) == (rows, columns)
    if fits and tensor.numel() == planes * frames * rows * columns:
        return tensor.reshape(planes, frames, rows, columns).float()
    if fits and tensor.numel() == planes * rows * columns:
        return tensor.reshape(planes, 1, rows, columns).expand(planes, frames, rows, columns).float().contiguous()
    raise CacheError(
        f"the mask {list(tensor.shape)} does not fit the latents {list(latents_Cfhw.shape)}", where=[path], fix=_REMAKE
    )


@contextlib.contextmanager
def _opened(path: Path, framework: Literal["np", "pt"] = "np") -> Iterator[Any]:
    """Open a safetensors file; everything that can be wrong with it becomes a CacheError.

    Args:
        path: the file.
        framework: ``np`` gives headers; tensors come from ``pt``, since NumPy has no bfloat16.
    """
    try:
        with safe_open(str(path), framework=framework) as file:
            yield file
    except FileNotFoundError as error:
        raise CacheError("a cache file is missing", where=[path], fix=Hint("run `{command}`", "cache")) from error
    except (OSError, SafetensorError) as error:
        raise CacheError(f"a cache file is damaged or not safetensors: {error}", where=[path], fix=_REMAKE) from error


def _shapes(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {parse_key(key).content: (key, tuple(file.get_slice(key).get_shape())) for key in file.keys()}  # noqa: SIM118  (safe_open is no mapping)


def _four(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    channels, frames, rows, columns = shape
    return channels, frames, rows, columns


def _merged(problems: list[Problem]) -> list[Problem]:
    """Put problems with the same sentence and fix into one that lists all places."""
    places: dict[tuple[str, str | Hint], list[str]] = {}
    for problem in problems:
        places.setdefault((problem.what, problem.fix), []).extend(problem.where)
    return [Problem(what, tuple(where), fix) for (what, fix), where in places.items()]
