"""Allow one writer per output folder; the kernel frees the lock when a writer dies.

Some drives have no file locks: NFS without its lock daemon, some CIFS and cloud mounts. There a lock is a file that
exists while somebody writes, which a killed run leaves behind; one of this machine is then taken over.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import socket
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import filelock

from blissmask.errors import BusyError, MachineError, Problem
from blissmask.storage import atomic, held_folders, ordinary
from blissmask.storage.content import without_links

_LOCK_NAME = ".blissmask.lock"
_SOFT_LOCK_NAME = ".blissmask.lock-file"
"""Where the drive has no locks. A name of its own: the attempt to lock leaves an empty file under the other name."""
_HOLDER_NAME = ".blissmask.lock.json"
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS)
"""What ``flock`` answers on drives without locks: NFS without lockd, some CIFS mounts, old NFS, FUSE."""


class Locks:
    """The locks of a run, on the folders that it writes to.

    Attributes:
        warnings: folders whose drive has no file locks.
    """

    def __init__(self, stack: contextlib.ExitStack, folders: Iterable[Path], command: str) -> None:
        self.warnings: list[Problem] = []
        self._stack, self._command = stack, command
        self._names: dict[Path, list[Path]] = {}
        for folder in folders:
            _refuse_lost_link(folder)
            self._names.setdefault(without_links(folder), []).append(folder)
        places = sorted(self._names)
        self._missing = [place for place in places if not place.exists()]
        for place in places:
            if place not in self._missing:
                self._take(place)

    def complete(self) -> bool:
        """Create and lock the folders that were not there when the plan was made.

        Returns:
            Whether somebody else created one of them in the meantime, so that the plan must be made again.

        Raises:
            BusyError, MachineError: as :func:`writing_to`.
        """
        appeared = False
        for place in self._missing:
            try:
                place.mkdir(parents=True)
            except FileExistsError:
                appeared = True
            except OSError as error:
                raise _refusal(place, error) from error
            self._take(place)
        self._missing = []
        return appeared

    def _take(self, folder: Path) -> None:
        self.warnings += self._stack.enter_context(_locked(folder, self._command))
        try:
            self._stack.enter_context(held_folders.holding(*self._names[folder]))
        except OSError as error:
            raise _refusal(folder, error) from error
        atomic.sweep(folder)


def _refuse_lost_link(folder: Path) -> None:
    """Raise MachineError where a link on the way to a folder leads nowhere: its drive is not there.

    The folder would be made where the drive belongs, on another one, and be hidden as soon as that comes back.
    """
    missing = itertools.takewhile(lambda place: not place.exists(), (folder, *folder.parents))
    lost = next((place for place in missing if ordinary.what_is(place) == ordinary.LOST_LINK), None)
    if lost is not None:
        raise MachineError(
            f"cannot write to the folder: it is {ordinary.LOST_LINK}",
            where=[lost],
            fix="bring back the drive that it leads to, make the folder there, or remove the link",
        )


@contextlib.contextmanager
def planning_to_write(folders: Iterable[Path], *, command: str) -> Iterator[Locks]:
    """Lock the ``folders`` that exist; what a plan finds in them stays as it is until the end.

    Call :meth:`Locks.complete` before anything is written: a plan that fails leaves no new folder behind. Temporary
    files of killed runs are removed.

    Args:
        folders: where the process is going to write.
        command: the holder's name in the error message of another writer, e.g. ``blissmask cache``.

    Raises:
        BusyError: another process writes to one of the folders; names it.
        MachineError: a folder cannot be created or locked. At the end: a folder is gone, and what was written into it.
    """
    with contextlib.ExitStack() as stack:
        yield Locks(stack, folders, command)


@contextlib.contextmanager
def writing_to(folders: Iterable[Path], *, command: str) -> Iterator[Locks]:
    """Hold the locks of all ``folders``, and create those that are missing; see :func:`planning_to_write`."""
    with planning_to_write(folders, command=command) as locks:
        locks.complete()
        yield locks


@contextlib.contextmanager
def _locked(folder: Path, command: str) -> Iterator[list[Problem]]:
    """Lock a folder; yield a warning where its drive has no file locks."""
    warnings: list[Problem] = []
    try:
        lock: filelock.BaseFileLock = filelock.FileLock(
            _lock_file(folder, _LOCK_NAME), timeout=0, fallback_to_soft=False
        )
        try:
            lock.acquire()
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lock = filelock.SoftFileLock(_lock_file(folder, _SOFT_LOCK_NAME), timeout=0)
            lock.acquire()
            warnings.append(_without_locks(folder, error))
    except filelock.Timeout as error:
        raise _busy(folder) from error
    except OSError as error:
        raise _refusal(folder, error) from error
    holder = folder / _HOLDER_NAME
    try:
        # The holder's file serves only the error message of another writer, so a run goes on without it.
        with contextlib.suppress(MachineError):
            atomic.write_text(holder, _describe_holder(command))
        yield warnings
    finally:
        # The drive may be gone; the error that tells of it is on its way already.
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            lock.release()


def _lock_file(folder: Path, name: str) -> Path:
    path = folder / name
    if path.is_symlink():
        # Locking opens the file for writing, which would empty the file that the link leads to.
        path.unlink()
    return path


def _without_locks(folder: Path, error: OSError) -> Problem:
    return Problem(
        f"the drive has no file locks ({error.strerror or error}), so a lock file guards the folder instead",
        (str(folder),),
        f"run one command at a time there; a killed run on another machine leaves `{_SOFT_LOCK_NAME}`, to be removed",
    )


def _busy(folder: Path) -> BusyError:
    fix = "wait for it, or choose another output folder"
    if (folder / _SOFT_LOCK_NAME).exists():
        fix += f"; if it runs no more, remove `{_SOFT_LOCK_NAME}` there, which the drive without locks needs"
    return BusyError(f"another blissmask is writing to {folder}", where=[_read_holder(folder)], fix=fix)


def _refusal(folder: Path, error: OSError) -> MachineError:
    kind = ordinary.what_is(folder)
    if kind not in ("", "a folder"):
        fix = "choose another name for the folder, or move what has it"
        return MachineError(f"cannot write to the folder: it is {kind}", where=[folder], fix=fix)
    return MachineError(f"cannot write to the folder: {error.strerror or error}", where=[folder])


def _describe_holder(command: str) -> str:
    started = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps({"command": command, "process": os.getpid(), "host": socket.gethostname(), "started": started})


def _read_holder(folder: Path) -> str:
    try:
        holder = json.loads(ordinary.read_text(folder / _HOLDER_NAME))
        return f"`{holder['command']}`, process {holder['process']} on {holder['host']}, started {holder['started']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "the other process has not said who it is"
