"""Open ordinary files for reading, and nothing else.

A pipe waits for a writer, a socket cannot be opened, and a device such as ``/dev/zero`` never ends. Any of them may
stand in a list, or be what a link leads to, so every file is opened here; ``tests/unit/test_house.py`` holds it.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_ordinary(path: Path) -> io.BufferedReader:
    """Open an ordinary file, or one that a link leads to, for reading bytes.

    Raises:
        OSError: it is missing or cannot be opened, or is no ordinary file; ``strerror`` then says what it is.
    """
    # Before opening as well: opening a device may do something, and opening a pipe may let its writer go on.
    refuse_special(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _refuse(os.fstat(descriptor), path)
        file = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    # Otherwise the file would be called by its number.
    file.raw.name = str(path)  # type: ignore[attr-defined]
    return file


def read_bytes(path: Path) -> bytes:
    """Return the content of an ordinary file; errors as in :func:`open_ordinary`."""
    with open_ordinary(path) as file:
        return file.read()


def read_text(path: Path, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Return the text of an ordinary file with Unix line ends.

    Raises:
        OSError: as in :func:`open_ordinary`.
        UnicodeDecodeError: it is no text in this encoding.
    """
    with open_text(path, encoding=encoding, errors=errors) as file:
        return file.read()


def open_text(path: Path, *, encoding: str = "utf-8", errors: str = "strict") -> io.TextIOWrapper:
    """Open an ordinary file for reading text; errors as in :func:`read_text`."""
    return io.TextIOWrapper(open_ordinary(path), encoding=encoding, errors=errors)


def refuse_special(path: Path) -> None:
    """Refuse what is neither an ordinary file nor a folder, for libraries that open a path themselves.

    Raises:
        OSError: it is missing, or a pipe, a socket or a device.
    """
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        _refuse(status, path)


def refuse_special_in(folder: Path) -> None:
    """Refuse pipes, sockets and devices in a folder, for libraries that open its files themselves.

    Raises:
        OSError: there is one, or a link that leads nowhere; names it.
    """
    for path in folder.iterdir():
        refuse_special(path)


def _refuse(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not an ordinary file", str(path))
