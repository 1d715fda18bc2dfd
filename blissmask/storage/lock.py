"""Allow one writer per output folder; the kernel frees the lock when a writer dies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import filelock

from blissmask.errors import BusyError, MachineError
from blissmask.storage import atomic
from blissmask.storage.content import without_links

_LOCK_NAME = ".blissmask.lock"
_HOLDER_NAME = ".blissmask.lock.json"


@contextlib.contextmanager
def writing_to(folders: Iterable[Path], *, command: str) -> Iterator[None]:
    """Hold the locks of all ``folders`` and remove the temporary files of killed runs in them; create missing folders.

    Args:
        folders: where the process is going to write.
        command: the holder's name in the error message of another writer, e.g. ``blissmask cache``.

    Raises:
        BusyError: another process writes to one of the folders; names it.
        MachineError: a folder cannot be created.
    """
    with contextlib.ExitStack() as stack:
        for folder in sorted({without_links(folder) for folder in folders}):
            stack.enter_context(_locked(folder, command))
            atomic.sweep(folder)
        yield


@contextlib.contextmanager
def _locked(folder: Path, command: str) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _LOCK_NAME
        if path.is_symlink():
            # Locking opens the file for writing, which would empty the file that the link leads to.
            path.unlink()
        lock = filelock.FileLock(path, timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        raise BusyError(
            f"another blissmask is writing to {folder}",
            where=[_read_holder(folder)],
            fix="wait for it, or choose another output folder",
        ) from error
    except OSError as error:
        raise MachineError(f"cannot write to the folder: {error.strerror or error}", where=[folder]) from error
    try:
        # The holder's file serves only the error message of another writer, so a run goes on without it.
        with contextlib.suppress(MachineError):
            atomic.write_text(folder / _HOLDER_NAME, _describe_holder(command))
        yield
    finally:
        (folder / _HOLDER_NAME).unlink(missing_ok=True)
        lock.release()


def _describe_holder(command: str) -> str:
    started = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps({"command": command, "process": os.getpid(), "host": socket.gethostname(), "started": started})


def _read_holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / _HOLDER_NAME).read_text(encoding="utf-8"))
        return f"`{holder['command']}`, process {holder['process']} on {holder['host']}, started {holder['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "the other process has not said who it is"
