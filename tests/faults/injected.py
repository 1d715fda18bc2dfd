"""Let one system call of this process fail, or be its last: the faults that disks, kernels and power cuts bring.

Python tells of every file it opens and renames before it does (audit hooks), so these faults need no tools and no rights.
An undisturbed run can record its calls, so that a test knows which of them are alike.
"""

from __future__ import annotations

import builtins
import io
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALLS = ("open", "write", "fsync", "rename")
STRUCK = "fault-struck"
RECORDED = "calls-recorded"

_HOUSE = Path(__file__).parents[2]
_PACKAGE = str(_HOUSE / "blissmask")
# Of our temporary files, and of TensorBoard's, which are named after time and process.
_OF_THIS_RUN = re.compile(r"(?<=\.)[0-9a-f]{12}(?=\.)|(?<=\.tfevents\.).+")


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        call: one of :data:`CALLS`, or ``any`` for all of them and those that make and remove. Files below the working folder are
            counted, read or written.
        number: which of these calls it is, from 1.
        error: the errno it fails with; 0 sends a signal to the process instead.
        below: a folder in the working folder, to count files below it only.
        name: a file's name, to count calls on files of this name only.
        kind: to count calls of this kind only; see :func:`record`.
        signal: the signal that is sent where ``error`` is 0; the call goes on when the process survives it.
    """

    call: str
    number: int
    error: int = 0
    below: str = ""
    name: str = ""
    kind: str = ""
    signal: int = signal.SIGKILL


def arm(fault: Fault) -> None:
    """Make the fault happen in this process, which must be about to run a subcommand in its working folder.

    A file :data:`STRUCK` appears there when it has happened.
    """
    folder, counted = str(Path.cwd()), str(Path.cwd() / fault.below)
    counter = itertools.count(1)

    def is_named(path: Any) -> bool:
        return not fault.name or Path(os.fsdecode(path)).name == fault.name

    def passes(call: str, path: Any) -> None:
        if fault.call not in (call, "any") or not _is_below(path, counted) or not is_named(path):
            return
        if fault.kind and fault.kind != _kind(call, path, folder):
            return
        if next(counter) != fault.number:
            return
        Path(folder, STRUCK).touch()
        if not fault.error:
            os.kill(os.getpid(), fault.signal)
            return
        raise OSError(fault.error, os.strerror(fault.error))

    _watch(passes)


def record() -> None:
    """Write the kind of every call of this process, a line each, into a file :data:`RECORDED` in its working folder.

    Calls are of one kind when they are the same call on the same file from the same place in the package, however often a
    library repeats them there.
    """
    folder = str(Path.cwd())
    lines = os.open(RECORDED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def passes(call: str, path: Any) -> None:
        if _is_below(path, folder):
            os.write(lines, os.fsencode(f"{_kind(call, path, folder)}\n"))

    _watch(passes)


def _kind(call: str, path: Any, folder: str) -> str:
    name = _OF_THIS_RUN.sub("", os.path.relpath(os.fsdecode(path), folder))
    places = []
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_PACKAGE):
            places.append(f"{Path(frame.f_code.co_filename).relative_to(_HOUSE)}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " ".join([call, name, *places])


def _watch(passes: Callable[[str, Any], None]) -> None:
    """Let ``passes`` know of each call and its file before it is made."""

    def audit(event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            passes("open", details[0])
        elif event == "os.rename":
            passes("rename", details[1])
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            passes("folder", details[0])

    _count_writes(passes)
    _count_syncs(passes)
    sys.addaudithook(audit)


def _is_below(path: object, folder: str) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    # Not by resolving: looking for links is not what is counted.
    absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
    return absolute.startswith(f"{folder}/") and not absolute.endswith(STRUCK)


class _Written:
    """A file open for writing. A write that fails has put half of its data down, as on a full disk."""

    def __init__(self, file: Any, path: object, passes: Callable[[str, object], None]) -> None:
        self._file, self._path, self._passes = file, path, passes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def writelines(self, parts: Iterable[Any]) -> None:
        for part in parts:
            self.write(part)

    def write(self, data: Any) -> Any:
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._passes("write", self._path)
        self._file.write(data[half:])
        return len(data)


def _count_writes(passes: Callable[[str, object], None]) -> None:
    genuine = io.open

    def opening(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = genuine(path, mode, *arguments, **options)
        return _Written(file, path, passes) if set(mode) & set("wax+") else file

    builtins.open = io.open = opening


def _count_syncs(passes: Callable[[str, object], None]) -> None:
    genuine = os.fsync

    def syncing(descriptor: int) -> None:
        passes("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())
        genuine(descriptor)

    os.fsync = syncing
