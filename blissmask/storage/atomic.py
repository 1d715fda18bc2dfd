"""Publish files whole or not at all.

A file is written beside its final place under a unique hidden name (``.NAME.HEX.blissmask-part``), synced, then
renamed. The holder of the folder's lock removes what killed runs left behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from blissmask.errors import MachineError
from blissmask.storage import held_folders
from blissmask.storage.seen import NOTHING_SEEN, Seen

_LEFTOVER = re.compile(r"^\..*\.[0-9a-f]{12}\.blissmask-part$", re.DOTALL)
_NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS)
"""What drives answer that cannot sync, mostly folders: CIFS and cloud mounts (source: PostgreSQL's fsync_fname)."""
MAX_NAME_BYTES = 255
"""The longest file name on Linux and macOS (``NAME_MAX``)."""


@contextlib.contextmanager
def publishing(path: Path, *, seen: Seen = NOTHING_SEEN) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; it becomes ``path`` when the block ends without an error.

    The folder is created. A symbolic link at ``path`` is replaced, never written through. The umask sets the file's
    permissions, as for any new file.

    Args:
        path: the file.
        seen: what the plan saw of the files of its item; all of them are checked before ``path`` gets its content.

    Raises:
        MachineError: the disk is full or takes no file of this size, the folder cannot be written, or the output folder
            is gone; nothing is left behind.
        ChangedError: a file is not as the plan saw it; nothing is left behind.
    """
    temporary = path.parent / _temporary_name(path.name)
    held_folders.check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        sync(temporary)
        seen.check()
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        # Where removing fails too, the first error is the cause, and it is the one to report.
        with contextlib.suppress(OSError):
            place, folder = held_folders.anchored(temporary)
            os.unlink(place, dir_fd=folder)
        refusal = _refusal(error, path)
        if refusal is None:
            raise
        raise refusal from error


def write_bytes(path: Path, data: bytes, *, seen: Seen = NOTHING_SEEN) -> None:
    """Publish ``data`` as ``path``; see :func:`publishing`."""
    with publishing(path, seen=seen) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Publish ``text`` as UTF-8 with Unix line ends; see :func:`publishing`."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def sweep(folder: Path) -> int:
    """Remove temporary files of killed runs from ``folder`` and return their number; the caller must hold its lock."""
    if not folder.is_dir():
        return 0
    leftovers = [
        entry for entry in os.scandir(folder) if _LEFTOVER.match(entry.name) and entry.is_file(follow_symlinks=False)
    ]
    for entry in leftovers:
        os.unlink(entry.path)
    return len(leftovers)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: only then do they survive a power cut.

    Drives that cannot be asked for it do as well as they can.

    Raises:
        OSError: the disk is full or fails.
    """
    # CIFS refuses to sync a file through a descriptor that is only read.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_WRONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _temporary_name(name: str) -> str:
    suffix = f".{secrets.token_hex(6)}.blissmask-part"
    room = MAX_NAME_BYTES - len(suffix) - 1
    # Half a character at the end would be no text, and some file systems take nothing else as a name.
    beginning = os.fsencode(name)[:room].decode(sys.getfilesystemencoding(), "ignore")
    return f".{beginning}{suffix}"


def _refusal(error: BaseException, path: Path) -> MachineError | None:
    """Return the user's error for ``error``, or None when it is not about the machine.

    Raises:
        MachineError: the output folder is gone, which is the reason of it all.
    """
    if not isinstance(error, OSError):
        return None
    held_folders.check(path)
    if error.errno == errno.EFBIG:
        fix = "write to a folder on another drive, or lift the limit, then run the same command again"
        return MachineError("the drive, or a limit (`ulimit -f`), takes no file of this size", where=[path], fix=fix)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "free some space, then run the same command again; finished files are kept"
        return MachineError("no space left to write", where=[path], fix=fix)
    fix = "check that the folder exists and that you may write to it"
    return MachineError(f"cannot write: {error.strerror or error}", where=[path], fix=fix)
