"""Fingerprints of the files that a cache entry was made from; an entry is stale when they no longer match.

A fingerprint is one text, with a space between files:

    SIZE:MTIME_NS:HASH                     a file
    folder:COUNT:BYTES:STATES:CONTENTS     a folder of frames; STATES is one hash over the names, sizes and times of its
                                           files, CONTENTS one hash over their names and contents

Size and modification time are compared first. The content decides only where the time moved and the size did not. So an
untouched data set costs one ``stat`` per file, and a copied one is read once.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

from blissmask.errors import InputError
from blissmask.storage.content import content_hash
from blissmask.storage.seen import State, folder_state, input_state

_FOLDER = "folder"
_DIGEST_BYTES = 16
"""128 bits, as in ``storage.content``."""


class Sameness(IntEnum):
    """How files compare with a fingerprint."""

    SAME = 0
    """Neither size nor modification time changed."""
    MOVED = 1
    """The same content with another modification time: fresh, but the fingerprint should be renewed."""
    CHANGED = 2


def take(paths: Iterable[Path]) -> str:
    """Return the fingerprint of ``paths`` in their order; empty for no files.

    Raises:
        InputError: a file cannot be read.
    """
    return " ".join(map(_take_one, paths))


def compare(fingerprint: str, paths: Iterable[Path], *, by_content: bool = False) -> Sameness:
    """Compare the files at ``paths`` with one fingerprint; see :meth:`Prints.compare`."""
    return Prints(by_content=by_content).compare(fingerprint, paths)


class Prints:
    """Compares the fingerprints of many entries; it lists each folder once and compares it once with each fingerprint.

    Hundreds of clips share a video and the folder of its masks. If each of them looked at all frames, the time would
    grow with the square of the video's length.

    Args:
        by_content: whether every file is read, even where neither size nor time changed.
    """

    def __init__(self, *, by_content: bool = False) -> None:
        self._by_content = by_content
        self._folders: dict[Path, _Folder] = {}
        self._compared: dict[tuple[str, tuple[Path, ...]], Sameness] = {}

    def compare(self, fingerprint: str, paths: Iterable[Path]) -> Sameness:
        """Return how the files at ``paths`` compare with ``fingerprint``.

        Args:
            fingerprint: as :func:`take` returned it.
            paths: the files or folders, in the order in which the fingerprint was taken.

        Raises:
            InputError: a file cannot be read.
        """
        files = [(path, _stat(path)) for path in paths]
        if not any(stat.S_ISDIR(state.st_mode) for _, state in files):
            return self._compare(fingerprint, files)
        key = (fingerprint, tuple(path for path, _ in files))
        if key not in self._compared:
            self._compared[key] = self._compare(fingerprint, files)
        return self._compared[key]

    def state_of(self, path: Path) -> State:
        """Return the state of a file or folder, as ``storage.seen`` compares it; a folder is listed once.

        Raises:
            InputError: the folder cannot be listed.
        """
        if not path.is_dir():
            return input_state(path)
        return folder_state((file.name, status) for file, status in self._folder(path).files)

    def _compare(self, fingerprint: str, files: Sequence[tuple[Path, os.stat_result]]) -> Sameness:
        recorded = iter(fingerprint.split())
        found = Sameness.SAME
        for path, state in files:
            text = next(recorded, "")
            if stat.S_ISDIR(state.st_mode):
                one = self._folder(path).compare(text, by_content=self._by_content)
            else:
                one = _compare_file(text, path, state, by_content=self._by_content)
            found = max(found, one)
        fewer_files = next(recorded, None) is not None
        return Sameness.CHANGED if fewer_files else found

    def _folder(self, path: Path) -> _Folder:
        if path not in self._folders:
            self._folders[path] = _list(path)
        return self._folders[path]


@dataclass(frozen=True)
class _Folder:
    """A folder of frames as it was when it was listed.

    Attributes:
        files: its files with their states, sorted by name, without hidden files and sub-folders.
    """

    files: tuple[tuple[Path, os.stat_result], ...]

    @cached_property
    def amount(self) -> str:
        """Return the beginning of the fingerprint: the number of files and bytes."""
        return f"{_FOLDER}:{len(self.files)}:{sum(state.st_size for _, state in self.files)}"

    @cached_property
    def states(self) -> str:
        """Return the fingerprint up to the contents; it takes no reading of files."""
        states = [(path.name, f"{state.st_size}:{state.st_mtime_ns}") for path, state in self.files]
        return f"{self.amount}:{_digest(states)}"

    @cached_property
    def contents(self) -> str:
        """Return the end of the fingerprint; it takes the reading of all files."""
        return _digest([(path.name, content_hash(path)) for path, _ in self.files])

    def compare(self, text: str, *, by_content: bool) -> Sameness:
        """Compare with a fingerprint of a folder; any other text counts as changed."""
        states, _, contents = text.rpartition(":")
        if states == self.states and not by_content:
            return Sameness.SAME
        if not text.startswith(f"{self.amount}:") or contents != self.contents:
            return Sameness.CHANGED
        return Sameness.SAME if states == self.states else Sameness.MOVED


def _take_one(path: Path) -> str:
    # The state is taken before the content: a file that changes in between then looks changed the next time, not fresh.
    state = _stat(path)
    if stat.S_ISDIR(state.st_mode):
        folder = _list(path)
        return f"{folder.states}:{folder.contents}"
    return f"{state.st_size}:{state.st_mtime_ns}:{content_hash(path)}"


def _list(folder: Path) -> _Folder:
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot read the folder: {error.strerror or error}", where=[folder]) from error
    states = [(path, _stat(path)) for path in paths]
    return _Folder(tuple((path, state) for path, state in states if stat.S_ISREG(state.st_mode)))


def _compare_file(recorded: str, path: Path, state: os.stat_result, *, by_content: bool) -> Sameness:
    size, _, rest = recorded.partition(":")
    modified, _, digest = rest.partition(":")
    if str(state.st_size) != size:
        return Sameness.CHANGED
    untouched = str(state.st_mtime_ns) == modified
    if untouched and not by_content:
        return Sameness.SAME
    if content_hash(path) != digest:
        return Sameness.CHANGED
    return Sameness.SAME if untouched else Sameness.MOVED


def _digest(lines: Iterable[tuple[str, str]]) -> str:
    """Return one hash over pairs of a name and a text.

    A null ends each name and a slash each text, so that different pairs give different bytes: no name holds a null, and
    no text a slash.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name, text in lines:
        digest.update(os.fsencode(name) + b"\0" + text.encode() + b"/")
    return digest.hexdigest()


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error
