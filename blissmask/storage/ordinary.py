"""Open ordinary files for reading, and nothing else.

A pipe waits for a writer, a socket cannot be opened, and a device such as ``/dev/zero`` never ends; neither may a file
that the kernel makes up, such as ``/proc/kmsg``. Any of them may stand in a list, or be what a link leads to, so every
file is opened here; ``tests/unit/test_house.py`` holds it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import stat
from pathlib import Path

from blissmask.errors import InputError
from blissmask.storage.near_miss import near_miss

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL)
"""Errors of the system that say that nothing, or something else, stands where a file was; a pipe is EINVAL here."""
_MADE_UP = ("/proc", "/sys")
"""Where Linux shows files that lie on no drive: reading one may wait, fail, or tell of another process each time."""
_CIRCLE = "a link that leads in a circle"
LOST_LINK = "a link that leads nowhere"
"""What :func:`what_is` calls it, e.g. one to a drive that is not there."""


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
    status = _status(path)
    if not stat.S_ISDIR(status.st_mode):
        _refuse(status, path)


def refuse_all_but_files(path: Path) -> None:
    """Refuse what is no ordinary file, for libraries that open a path themselves; errors as :func:`open_ordinary`."""
    _refuse(_status(path), path)


def is_no_file(error: OSError) -> bool:
    """Return whether an error says that nothing, or something else, stands where a file was.

    After any other the file may be whole: the drive fails, its share is gone, or the rights forbid to read it.
    """
    return error.errno in _NO_FILE


def why_no_file(path: Path, name: str = "file") -> str:
    """Return why nothing can be read from a path, and an empty text where an ordinary file stands there.

    Args:
        path: what somebody named.
        name: what it should be, e.g. ``LoRA file``.
    """
    try:
        refuse_all_but_files(path)
    except FileNotFoundError:
        # A link is there, and somebody who sees it in the folder would not believe otherwise.
        kind = what_is(path)
        if kind:
            return f"the {name} cannot be read: it is {kind}"
        return ", ".join(filter(None, (f"there is no such {name}", near_miss(path))))
    except OSError as error:
        return f"the {name} cannot be read: {error.strerror}"
    return ""


def what_is(path: Path) -> str:
    """Return what stands at a path, e.g. `a file`, `a pipe`, `a link that leads nowhere`.

    Empty for nothing, and where it cannot be known: the name is too long, or looking at it is not allowed.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return _CIRCLE
        # `Path.is_symlink` raises for a name that is too long.
        nowhere = error.errno in (errno.ENOENT, errno.ENOTDIR) and os.path.islink(path)  # noqa: PTH114
        return LOST_LINK if nowhere else ""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "something else")


def in_the_way(path: Path, what: str, *, fix: str = "remove or rename it") -> InputError:
    """Return the error for something that is not ours at the path of an output.

    Args:
        path: of the output.
        what: what the output is, e.g. ``the ranking``.
        fix: what else helps.
    """
    return InputError(f"{what_is(path)} that is not ours stands where {what} would go", where=[path], fix=fix)


def refuse_special_in(folder: Path) -> None:
    """Refuse pipes, sockets and devices in a folder, for libraries that open its files themselves.

    Raises:
        OSError: there is one, or a link that leads nowhere; names it.
    """
    for path in folder.iterdir():
        refuse_special(path)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"it is {_CIRCLE}", str(path)) from error
        raise


def _refuse(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not an ordinary file", str(path))
    if status.st_dev in _made_up_drives():
        raise OSError(errno.EINVAL, "it is made up by the kernel, not an ordinary file", str(path))


@functools.cache
def _made_up_drives() -> frozenset[int]:
    """Return the numbers of the drives that show :data:`_MADE_UP`; they are ordinary folders in some containers."""
    numbers = set()
    for folder in _MADE_UP:
        with contextlib.suppress(OSError):
            numbers.add(Path(folder).stat().st_dev)
    return frozenset(numbers - {Path("/").stat().st_dev})
