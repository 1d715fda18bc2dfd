"""Read cache entries of ours, of musubi-tuner and of blissful-tuner.

Headers are read without torch and without the tensors, so a data set is listed quickly. C channels; f, h, w latent
frames, rows, columns.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from safetensors import SafetensorError, safe_open

from blissmask.cachefile.entry import CachedMask, CacheEntry, CacheHeader, SharedHeader
from blissmask.cachefile.layout import (
    FRAME_COUNT,
    LATENTS,
    MASK_REGIONS,
    MASK_SUBCELLS,
    MASK_SUBJECTS,
    MASK_SUBREGIONS,
    MASK_WEIGHTS,
    OWN_METADATA,
    UNASKED_METADATA,
    TextKind,
    parse_key,
    parse_latent_name,
    read_subjects,
    text_name,
)
from blissmask.errors import CacheError, Hint, MachineError, Problem, first_line
from blissmask.masks.tiers import TIERS
from blissmask.storage.ordinary import is_no_file, open_ordinary, refuse_all_but_files
from blissmask.storage.seen import input_state
from blissmask.storage.short_path import ShortPath

if TYPE_CHECKING:
    from torch import Tensor

_Known: TypeAlias = dict[tuple[object, object], SharedHeader]
"""By contents and keys."""
_ROUNDING = 0.008
"""By which weights may leave 0..1: one step of bfloat16 above 1, which is 2**-7; those of float16 are smaller."""
_NO_MEMORY = ("mmap", "allocate")
"""In what PyTorch says, as a plain RuntimeError, when it has no room to map a file or for a tensor."""
_BLOCK_BYTES = 1 << 20
_REMAKE = Hint("remove them, then run `{command}` again", "cache")


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
    with _opened(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
        contents = _shapes(file)
    name = parse_latent_name(path.name, cache_suffix, is_clip=FRAME_COUNT in metadata)
    if name is None:
        raise CacheError(
            "not the name of a latent file", where=[path], fix="move files of other kinds out of the cache folder"
        )
    latent_shape = _latent_shape(contents)
    if latent_shape is None:
        raise CacheError("no latents in the cache file", where=[path], fix=_REMAKE)
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
        MachineError: it does not fit into memory, or its drive fails.
    """
    with _opened(path, "pt") as file, _telling_of_memory(path):
        _read_through(path)
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (safe_open is no mapping)


def read_keys(path: Path) -> list[str]:
    """Return the keys of the tensors of any cache file, from its header; errors as :func:`read_metadata`."""
    with _opened(path) as file:
        return list(file.keys())


def is_sound(path: Path) -> bool:
    """Read a whole cache file; return whether it is undamaged and all of its values are finite.

    Raises:
        MachineError: it does not fit into memory, its drive fails, or the rights forbid to read it, so nothing is known
            of it.
    """
    try:
        tensors = read_tensors(path)
    except CacheError:
        return False
    # In float32, since float8 has no isfinite of its own.
    return all(bool(tensor.float().isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point())


def load_entry(header: CacheHeader) -> CacheEntry:
    """Read the tensors of one item, latents and text.

    Mask weights are read under every key that other tools use, in any float dtype, with 3 or 4 dimensions, and with a
    frame for each latent frame or one for all. They are returned as float32 of shape (1, f, h, w).

    Raises:
        ChangedError: a file was written anew since its header was read.
        CacheError: a file is missing, truncated or damaged, or the mask does not fit the latents.
        MachineError: a file does not fit into memory.
    """
    header.seen.check()
    named = {content: _with_frames(content, tensor) for content, tensor in _by_content(header.path).items()}
    latents_Cfhw = named.pop(LATENTS)
    weights = named.pop(MASK_WEIGHTS, None)
    regions = named.pop(MASK_REGIONS, None)
    subweights = named.pop(MASK_SUBCELLS, None)
    subregions = named.pop(MASK_SUBREGIONS, None)
    subjects = named.pop(MASK_SUBJECTS, None)
    named.update(_by_content(header.text_path))
    # Once more: a tensor may have been read from a file that was put in the place of the one looked at.
    header.seen.check()
    return CacheEntry(
        latents_Cfhw=latents_Cfhw,
        weights_1fhw=None if weights is None else _on_grid(weights, 1, header),
        regions_4fhw=None if regions is None else _on_grid(regions, 4, header),
        conditioning=named,
        subweights_1fhw=None if subweights is None else _on_subgrid(subweights, 1, header),
        subregions_4fhw=None if subregions is None else _on_subgrid(subregions, 4, header),
        subjects_Qfhw=None if subjects is None else _on_subgrid(subjects, _subject_planes(header), header),
    )


def load_text(header: CacheHeader, kind: TextKind) -> dict[str, Tensor]:
    """Read another text of the item than its caption as it is written.

    Raises:
        CacheError: the file is missing or damaged.
        MachineError: it does not fit into memory.
    """
    return _by_content(header.text_path_of(kind))


def load_mask(header: CacheHeader) -> CachedMask:
    """Read the mask of one item and leave its latents, which are many times larger; see :func:`load_entry`.

    Raises:
        CacheError: the file is missing, truncated or damaged, or the mask does not fit the latents.
        MachineError: the file does not fit into memory.
    """
    keys = {name: key for name, (key, _) in header.contents.items()}
    with _opened(header.path, "pt") as file, _telling_of_memory(header.path):
        weights = file.get_tensor(keys[MASK_WEIGHTS]) if MASK_WEIGHTS in keys else None
        regions = file.get_tensor(keys[MASK_REGIONS]) if MASK_REGIONS in keys else None
    return CachedMask(
        weights_1fhw=None if weights is None else _on_grid(weights, 1, header),
        regions_4fhw=None if regions is None else _on_grid(regions, 4, header),
    )


def _by_content(path: Path) -> dict[str, Tensor]:
    return {parse_key(key).content: tensor for key, tensor in read_tensors(path).items()}


def _with_frames(content: str, tensor: Tensor) -> Tensor:
    """Return a latent tensor, of the item or of a control picture, with its frame axis; see ``layout.FrameAxis``."""
    return tensor.unsqueeze(1) if content.startswith(LATENTS) and tensor.ndim == 3 else tensor


def _subject_planes(header: CacheHeader) -> int:
    return len(TIERS) * len(read_subjects(header.metadata))


def _on_subgrid(tensor: Tensor, planes: int, header: CacheHeader) -> Tensor:
    """Bring a mask tensor of sub-cells to float32 (planes, f, n * h, n * w), for any whole n."""
    return _on_grid(tensor, planes, header, subcells=max(1, tensor.shape[-1] // header.latent_shape[-1]))


def _on_grid(tensor: Tensor, planes: int, header: CacheHeader, *, subcells: int = 1) -> Tensor:
    """Bring a mask tensor to float32 (planes, f, h, w); raise CacheError when it cannot belong to the latents."""
    frames, rows, columns = header.latent_shape[1:]
    rows, columns = rows * subcells, columns * subcells
    fits = tensor.is_floating_point() and tensor.ndim in (3, 4) and tuple(tensor.shape[-2:]) == (rows, columns)
    if fits and tensor.numel():
        _refuse_no_shares(tensor, header)
    if fits and tensor.numel() == planes * frames * rows * columns:
        return tensor.reshape(planes, frames, rows, columns).float()
    if fits and tensor.numel() == planes * rows * columns:
        return tensor.reshape(planes, 1, rows, columns).expand(planes, frames, rows, columns).float().contiguous()
    raise CacheError(
        f"the mask {list(tensor.shape)} does not fit the latents {list(header.latent_shape)}",
        where=[header.path],
        fix=_REMAKE,
    )


def _refuse_no_shares(tensor: Tensor, header: CacheHeader) -> None:
    """Raise CacheError for weights and shares that do not lie in 0..1, such as grey values of another tool."""
    least, most = (float(value) for value in tensor.float().aminmax())
    # NaN and infinity are told of where the whole entry is read.
    if math.isfinite(most - least) and (least < -_ROUNDING or most > 1 + _ROUNDING):
        what = f"the mask holds {least:g} to {most:g}, and weights lie between 0 and 1"
        raise CacheError(what, where=[header.path], fix=_REMAKE)


@contextlib.contextmanager
def _opened(path: Path, framework: Literal["np", "pt"] = "np") -> Iterator[Any]:
    """Open a safetensors file; raise CacheError for whatever is wrong with it.

    Raises MachineError where the file may be whole: memory is too small, the drive fails, or the rights forbid to read.

    Args:
        path: the file.
        framework: ``np`` gives headers; tensors come from ``pt``, since NumPy has no bfloat16.
    """
    try:
        refuse_all_but_files(path)
        with _named_in_utf8(path) as name:
            with _telling_of_memory(path):
                opened = safe_open(name, framework=framework)
            with opened as file:
                yield file
    except OSError as error:
        refusal = _refusal_of(path, error)
        raise _unreadable(path, refusal) from refusal
    except SafetensorError as error:
        raise CacheError(f"a cache file is damaged or not safetensors: {error}", where=[path], fix=_REMAKE) from error


def _refusal_of(path: Path, error: OSError) -> OSError:
    """Return why the system refuses a file: safetensors calls every file that it cannot open missing."""
    try:
        _read_through(path)
    except OSError as refusal:
        return refusal
    return error


def _read_through(path: Path) -> None:
    """Read a file and forget it, so that a drive that fails is an error of this call.

    Tensors come from a mapped file, and a drive that fails under one kills the process (SIGBUS). What was read just now
    is still in memory.
    """
    with open_ordinary(path) as file:
        while file.read(_BLOCK_BYTES):
            pass


def _unreadable(path: Path, error: OSError) -> CacheError | MachineError:
    if isinstance(error, FileNotFoundError):
        return CacheError("a cache file is missing", where=[path], fix=Hint("run `{command}`", "cache"))
    why = error.strerror or first_line(error)
    if is_no_file(error):
        return CacheError(f"a cache file cannot be read: {why}", where=[path], fix=_REMAKE)
    # To make it anew would throw away what may be whole.
    fix = "see to the drive, or to the rights of the file, then run the same command again"
    return MachineError(f"the file cannot be read: {why}", where=[path], fix=fix)


@contextlib.contextmanager
def _telling_of_memory(path: Path) -> Iterator[None]:
    """Raise MachineError where PyTorch has no room for a file: nothing is wrong with the file itself.

    PyTorch maps the whole file so that it could be written to, which is refused where memory and swap are smaller.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in _NO_MEMORY):
            raise
        what = f"the file does not fit into memory: {first_line(error)}"
        fix = "close other programs, or give the machine more memory or swap, then run the same command again"
        raise MachineError(what, where=[path], fix=fix) from error


@contextlib.contextmanager
def _named_in_utf8(path: Path) -> Iterator[str]:
    """Yield a name of a file that torch's reader takes, which knows names in UTF-8 alone; Linux has others, too."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    yield name


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
        # See ``layout.FrameAxis``.
        channels, rows, columns = shape
        return channels, 1, rows, columns
    return None


def _merged(problems: list[Problem]) -> list[Problem]:
    """Merge problems with the same sentence and the same fix into one that lists all places."""
    places: dict[tuple[str, str | Hint], list[str]] = {}
    for problem in problems:
        places.setdefault((problem.what, problem.fix), []).extend(problem.where)
    return [Problem(what, tuple(where), fix) for (what, fix), where in places.items()]
