"""What a plan saw of an item's files, so that its run notices what changed in between.

A plan decides by headers, fingerprints and notes. A photo that is replaced after that would be read with the old one's
geometry, and a mask that is retouched would be overwritten. So a plan takes the states of all files of an item before
it looks into any of them, and :meth:`Seen.check` compares them when they are read and before the output gets its name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from blissmask.errors import ChangedError, MediaError

_STATE_BYTES = 8
State: TypeAlias = bytes
"""64 bits of size, modification time and change time. Nobody can set the change time back. Inode numbers do not count:
cloud mounts give a file another one whenever they like."""

States: TypeAlias = bytes
"""The states of several files, one after the other: plans hold them for every item."""

ABSENT: State = bytes(_STATE_BYTES)

_AGAIN = "run the same command again: it plans this item anew"


@dataclass(frozen=True, slots=True)
class Seen:
    """The states of an item's files when it was planned.

    Attributes:
        inputs: files and folders of frames that are read; links are followed.
        output: the file that is written; None where there is none, or where it is a folder. A link is seen itself.
        states: of the inputs in their order, then of the output. Empty when nothing was looked at.
    """

    inputs: tuple[Path, ...] = ()
    output: Path | None = None
    states: States = b""

    @classmethod
    def now(cls, inputs: Iterable[Path], output: Path | None = None) -> Seen:
        """Return the states of files as they are now."""
        files = tuple(inputs)
        return cls(files, output, states_of(files, output))

    def check(self) -> None:
        """Check that all files are as they were.

        Raises:
            ChangedError: one is not; names the first one.
            MediaError: one cannot be looked at any more.
        """
        if not self.states:
            return
        for number, path in enumerate(self.inputs):
            before = self.states[number * _STATE_BYTES : (number + 1) * _STATE_BYTES]
            if input_state(path) != before:
                raise _changed(path, before)
        before = self.states[-_STATE_BYTES:]
        if self.output is not None and output_state(self.output) != before:
            raise _changed(self.output, before)

    def check_inputs(self) -> None:
        """Check the inputs alone; raises as :meth:`check`."""
        Seen(self.inputs, None, self.states).check()


NOTHING_SEEN = Seen()


def states_of(inputs: Iterable[Path], output: Path | None = None) -> States:
    """Return the states of files as they are now, as :attr:`Seen.states` holds them."""
    states = b"".join(map(input_state, inputs))
    return states if output is None else states + output_state(output)


def states_with_output(states: States, output: Path) -> States:
    """Return the states with the last one, the output's, replaced by the state of another file."""
    return states[:-_STATE_BYTES] + output_state(output)


def input_state(path: Path) -> State:
    """Return the state of a file, or of a folder with the files in it; :data:`ABSENT` where nothing is there."""
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return _state(status)
        with os.scandir(path) as entries:
            # Hidden files are no frames; a file manager may add some.
            return folder_state((entry.name, entry.stat()) for entry in entries if not entry.name.startswith("."))
    except OSError:
        # A file that cannot be looked at has its own message where it is read.
        return ABSENT


def folder_state(files: Iterable[tuple[str, os.stat_result]]) -> State:
    """Return the state of a folder that was listed already: names and states of what is in it."""
    ordinary = [(name, _state(status)) for name, status in files if stat.S_ISREG(status.st_mode)]
    return _number(tuple(sorted(ordinary)))


def output_state(path: Path) -> State:
    """Return the state of a file to be written; :data:`ABSENT` where nothing is there, or where a folder is."""
    try:
        status = path.lstat()
    except OSError:
        return ABSENT
    return ABSENT if stat.S_ISDIR(status.st_mode) else _state(status)


def _state(status: os.stat_result) -> State:
    return _number((status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def _number(facts: object) -> State:
    # -1 is no hash in Python, so that a file that is there never looks absent.
    return (hash(facts) or -1).to_bytes(_STATE_BYTES, "little", signed=True)


def _changed(path: Path, before: State) -> ChangedError | MediaError:
    """Return the error for a file that is not as it was."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ChangedError("the file is gone since the run was planned", where=[path], fix=_AGAIN)
    except OSError as error:
        return MediaError(f"the file cannot be read: {error.strerror or error}", where=[path])
    what = "the file changed" if before != ABSENT else "a file appeared here"
    return ChangedError(f"{what} since the run was planned", where=[path], fix=_AGAIN)
