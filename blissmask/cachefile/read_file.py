"""Read any safetensors file, and say what is wrong where it cannot be read.

Headers are read without torch and without the tensors.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from blissmask.errors import CacheError, Hint, MachineError, first_line
from blissmask.storage.ordinary import LOST_LINK, is_no_file, open_ordinary, refuse_all_but_files, what_is

if TYPE_CHECKING:
    from torch import Tensor

_NO_MEMORY = ("mmap", "allocate")
"""In what PyTorch says, as a plain RuntimeError, when it has no room to map a file or for a tensor."""
_BLOCK_BYTES = 1 << 20
"""Read at a time, and forgotten."""
REMAKE = Hint("remove them, then run `{command}` again", "cache")
"""How to mend files that the cache makes anew."""


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of any cache file, without its tensors.

    Raises:
        CacheError: the file is missing, truncated or damaged.
    """
    with opened(path) as file:
        return dict(file.metadata() or {})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a cache file by their key.

    Raises:
        CacheError: the file is missing, truncated or damaged.
        MachineError: it does not fit into memory, or its drive fails.
    """
    with opened(path, "pt") as file, telling_of_memory(path):
        _read_through(path)
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (safe_open is no mapping)


def read_keys(path: Path) -> list[str]:
    """Return the keys of the tensors of any cache file, from its header; errors as :func:`read_metadata`."""
    with opened(path) as file:
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


@contextlib.contextmanager
def opened(path: Path, framework: Literal["np", "pt"] = "np") -> Iterator[Any]:
    """Open a safetensors file; raise CacheError for whatever is wrong with it.

    Raises MachineError where the file may be whole: memory is too small, the drive fails, or the rights forbid to read.

    Args:
        path: the file.
        framework: ``np`` gives headers; tensors come from ``pt``, since NumPy has no bfloat16.
    """
    try:
        refuse_all_but_files(path)
        with _named_in_utf8(path) as name:
            with telling_of_memory(path):
                opened = safe_open(name, framework=framework)
            with opened as file:
                yield file
    except OSError as error:
        refusal = _refusal_of(path, error)
        raise _unreadable(path, refusal) from refusal
    except SafetensorError as error:
        raise CacheError(f"a cache file is damaged or not safetensors: {error}", where=[path], fix=REMAKE) from error


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
    if what_is(path) == LOST_LINK:
        fix = "bring back the drive that it leads to, or remove the link, then run the same command again"
        return MachineError(f"the file cannot be read: it is {LOST_LINK}", where=[path], fix=fix)
    if isinstance(error, FileNotFoundError):
        return CacheError("a cache file is missing", where=[path], fix=Hint("run `{command}`", "cache"))
    why = error.strerror or first_line(error)
    if is_no_file(error):
        return CacheError(f"a cache file cannot be read: {why}", where=[path], fix=REMAKE)
    # To make it anew would throw away what may be whole.
    fix = "see to the drive, or to the rights of the file, then run the same command again"
    return MachineError(f"the file cannot be read: {why}", where=[path], fix=fix)


@contextlib.contextmanager
def telling_of_memory(path: Path) -> Iterator[None]:
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
