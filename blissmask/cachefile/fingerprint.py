"""What makes a cache entry stale: fingerprints of the files it was made from, compared cheaply.

A fingerprint is one text, with spaces between files: ``SIZE:MTIME_NS:HASH`` of a file,
``folder:COUNT:BYTES:STATES:CONTENTS`` of a folder of frames, where STATES is one hash over names, sizes and times of
its files, and CONTENTS one over names and contents. Size and modification time are compared first; only where the time
moved and the size did not, the content decides. So an untouched data set costs one ``stat`` per file, a copied one is
read once.

The fingerprint of a folder was that of all its files, one after the other, once. Such ones are still understood, and
renewed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import islice
from pathlib import Path

from blissmask.errors import InputError
from blissmask.storage.content import content_hash

_FOLDER = "folder"
_DIGEST_BYTES = 16


class Sameness(IntEnum):
    """How files compare with a fingerprint."""

    SAME = 0
    """Untouched since."""
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
    """Compare once; see :class:`Prints`."""
    return Prints(by_content=by_content).compare(fingerprint, paths)


class Prints:
    """Compares fingerprints in one pass over many entries, in which a folder is listed once and compared once with each fingerprint.

    Hundreds of clips share a film and the folder of its masks; each looking at all frames would take the square of
    their number.

    Args:
        by_content: read every file, even where size and time have not moved.
    """

    def __init__(self, *, by_content: bool = False) -> None:
        self._by_content = by_content
        self._folders: dict[Path, _Folder] = {}
        self._compared: dict[tuple[str, tuple[Path, ...]], Sameness] = {}

    def compare(self, fingerprint: str, paths: Iterable[Path]) -> Sameness:
        """Say whether ``paths`` are still what ``fingerprint`` was taken of.

        Args:
            fingerprint: as :func:`take` returned it.
            paths: the files now.

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

    def _compare(self, fingerprint: str, files: Sequence[tuple[Path, os.stat_result]]) -> Sameness:
        recorded = iter(fingerprint.split())
        found = Sameness.SAME
        for path, state in files:
            text = next(recorded, "")
            if not stat.S_ISDIR(state.st_mode):
                one = _compare_file(text, path, state, by_content=self._by_content)
            elif text.startswith(f"{_FOLDER}:"):
                one = self._folder(path).compare(text, by_content=self._by_content)
            else:
                folder = self._folder(path)
                older = [text, *islice(recorded, max(0, len(folder.files) - 1))]
                one = folder.compare_older(older, by_content=self._by_content)
            found = max(found, one)
        return Sameness.CHANGED if next(recorded, None) is not None else found

    def _folder(self, path: Path) -> _Folder:
        if path not in self._folders:
            self._folders[path] = _list(path)
        return self._folders[path]


@dataclass(frozen=True)
class _Folder:
    """A folder of frames as it was when it was listed.

    Attributes:
        files: its files with their states, sorted by name; hidden ones and sub-folders are left out.
    """

    files: tuple[tuple[Path, os.stat_result], ...]

    @cached_property
    def amount(self) -> str:
        """Return how many files and bytes there are, the beginning of the fingerprint."""
        return f"{_FOLDER}:{len(self.files)}:{sum(state.st_size for _, state in self.files)}"

    @cached_property
    def states(self) -> str:
        """Return the fingerprint up to the contents, for which no file is read."""
        return f"{self.amount}:{_digest((path.name, f'{state.st_size}:{state.st_mtime_ns}') for path, state in self.files)}"

    @cached_property
    def contents(self) -> str:
        """Return the rest of it, for which all files are read."""
        return _digest((path.name, content_hash(path)) for path, _ in self.files)

    def compare(self, text: str, *, by_content: bool) -> Sameness:
        """Compare with the fingerprint of a folder."""
        states, _, contents = text.rpartition(":")
        if states == self.states and not by_content:
            return Sameness.SAME
        if not text.startswith(f"{self.amount}:") or contents != self.contents:
            return Sameness.CHANGED
        return Sameness.SAME if states == self.states else Sameness.MOVED

    def compare_older(self, texts: Sequence[str], *, by_content: bool) -> Sameness:
        """Compare with the fingerprints of all files, which is how folders were recorded once; at best they are to be renewed.

        Frames were taken in the order of their names as text then, so where ``10.png`` stood before ``9.png`` the entry
        is wrong.
        """
        by_number = sorted(self.files, key=lambda file: (len(file[0].name), file[0].name))
        if len(texts) != len(self.files) or [path for path, _ in self.files] != [path for path, _ in by_number]:
            return Sameness.CHANGED
        compared = (
            _compare_file(text, path, state, by_content=by_content)
            for text, (path, state) in zip(texts, self.files, strict=True)
        )
        return max(Sameness.MOVED, *compared)


def _take_one(path: Path) -> str:
    # The state before the content: a file that changes in between looks changed next time, not fresh.
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
    inside = ((path, _stat(path)) for path in paths)
    return _Folder(tuple((path, state) for path, state in inside if stat.S_ISREG(state.st_mode)))


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
    """Return one hash over names and what is said of them; no name holds a null or a slash."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name, text in lines:
        digest.update(os.fsencode(name) + b"\0" + text.encode() + b"/")
    return digest.hexdigest()


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error
