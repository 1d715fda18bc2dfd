"""Name weights by their content: a cache then knows which model made it, whatever the file is called."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from blissmask.errors import MachineError, ModelError
from blissmask.storage.ordinary import open_ordinary, refuse_all_but_files

_MIB = 1 << 20
# Up to this size every byte counts: all VAEs. Larger files (text encoders, denoisers) are sampled, or planning would
# take minutes.
_WHOLE_LIMIT = 1024 * _MIB
_HEAD = 4 * _MIB
# One block per 40 MB of a 10 GB file: less than the size of one large weight, so retrained files differ in many blocks.
_SAMPLES = 256
# Besides weights, what decides what a folder's model computes.
_FOLDER_SUFFIXES = frozenset({".safetensors", ".bin", ".pth", ".pt", ".json", ".model", ".txt"})


def file_identity(path: Path) -> str:
    """Return the SHA-256 of a file's content as hex.

    Files over 1 GiB are named by their size, their first 4 MiB and 256 evenly spread blocks of 1 MiB; the result then
    starts with ``sampled-``. Computed once per process for a path, size and modification time.

    Raises:
        ModelError: there is no such file.
        MachineError: it cannot be read, or is no ordinary file.
    """
    try:
        refuse_all_but_files(path)
        status = path.stat()
    except FileNotFoundError:
        raise ModelError(
            "there is no such model file", where=[path], fix="correct the path under [model]; `--model tiny` needs none"
        ) from None
    except OSError as error:
        raise MachineError(f"the model file cannot be read: {error.strerror}", where=[path]) from error
    return _hash(path.resolve(), status.st_size, status.st_mtime_ns)


def folder_identity(folder: Path) -> str:
    """Return one identity for all model files below ``folder``: their relative names and contents.

    Raises:
        ModelError: the folder holds no model file.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in _FOLDER_SUFFIXES and path.is_file())
    if not files:
        raise ModelError("the folder holds no model files", where=[folder])
    return joined_identity(f"{path.relative_to(folder).as_posix()}={file_identity(path)}" for path in files)


def path_identity(path: Path) -> str:
    """Return :func:`folder_identity` or :func:`file_identity`, whichever ``path`` is."""
    return folder_identity(path) if path.is_dir() else file_identity(path)


def joined_identity(parts: Iterable[str]) -> str:
    """Return one identity for several, in order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.lru_cache(maxsize=4096)
def _hash(path: Path, size: int, modified_ns: int) -> str:
    del modified_ns  # part of the key: an edited file is hashed again
    digest = hashlib.sha256(str(size).encode())
    try:
        with open_ordinary(path) as file:
            if size <= _WHOLE_LIMIT:
                return hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(file.read(_HEAD))
            for sample in range(_SAMPLES):
                file.seek(_HEAD + (size - _HEAD - _MIB) * sample // (_SAMPLES - 1))
                digest.update(file.read(_MIB))
    except OSError as error:
        raise MachineError(f"the model file cannot be read: {error.strerror}", where=[path]) from error
    return f"sampled-{digest.hexdigest()}"
