"""The errors of blissmask, as one tree; each class has an exit code.

    BlissmaskError
    ├── InputError            1   the input prevents the work
    │   ├── MediaError            a picture or video cannot be read
    │   ├── MaskError             a mask is missing, misaligned or unusable
    │   ├── CacheError            a cache entry is missing, foreign or damaged
    │   ├── ChangedError          a file changed while the command ran
    │   └── ModelError            a model file or its weights cannot be used
    ├── MachineError          1   the machine prevents the work (disk full, memory, missing device)
    ├── MissingPackageError   1   an optional package is not installed
    ├── UsageError            2   the command line or the configuration is wrong
    ├── BusyError             4   another blissmask writes to the same output
    └── StoppedError        130   stopped by Ctrl-C, SIGTERM (143) or SIGHUP (129); safe to run again

An error states what is wrong, where, and how to mend it. The command line turns it into text and an exit code in one
place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Hint:
    """How to mend a problem with a command of ours.

    The command is kept apart from the sentence: the screen adds the configuration file that the user named, so that the
    command can be typed as it is shown.

    Attributes:
        sentence: the text, with ``{command}`` where the command stands.
        command: the subcommand, e.g. ``cache``.
        arguments: what follows it, e.g. ``--arch NAME``.
    """

    sentence: str
    command: str
    arguments: str = ""

    def text(self, config: str = "", typed: Mapping[str, str] = MappingProxyType({})) -> str:
        """Return the sentence with the command in it.

        Args:
            config: a configuration file, which ``--config`` names; empty without one.
            typed: flag -> the flag and its value, which the user typed and the command takes, too. What the hint itself
                says goes before, the opposite of what was typed included.
        """
        named = f"--config {config}" if config else ""
        own = self.arguments.split()
        more = [text for flag, text in typed.items() if not {flag, f"--no-{flag[2:]}"} & set(own)]
        return self.sentence.replace(
            "{command}", " ".join(filter(None, ("blissmask", self.command, named, self.arguments, *more)))
        )

    def __str__(self) -> str:
        """Return the text without a configuration."""
        return self.text()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        what: the sentence, without a full stop; names the real key and value.
        where: files, keys or places, one line each.
        fix: how to mend it; may hold several lines; empty when there is nothing to suggest.
        within: what all of ``where`` is part of: ``in dataset 1``; empty when that needs no word. It is shown even
            where the list is cut short.
    """

    what: str
    where: tuple[str, ...] = ()
    fix: str | Hint = ""
    within: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """Return ``where``, and what it is part of."""
        return (*self.where, self.within) if self.within else self.where

    @property
    def line(self) -> str:
        """Return places and sentence on one line, as lists show them: ``masks/a2.png: the file is empty``."""
        return f"{', '.join(self.places)}: {self.what}" if self.places else self.what

    @property
    def short_line(self) -> str:
        """Return the line for the middle of a sentence, where a list of many places has no room.

        Of several places only what they are part of is named: ``in dataset 1: no mask for 63 items``.
        """
        return self.line if len(self.where) == 1 else dataclasses.replace(self, where=()).line

    def of(self, *places: object) -> Problem:
        """Return the problem with ``places`` as its places, unless it names its own."""
        return self if self.where else dataclasses.replace(self, where=tuple(map(str, places)))


class BlissmaskError(Exception):
    """An error that a user can act on; it carries one or more problems."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: Iterable[object] = (), fix: str | Hint = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, tuple(str(place) for place in where), fix),)
        super().__init__(what)

    def __str__(self) -> str:
        return "; ".join(problem.what for problem in self.problems)

    def as_one(self) -> Problem:
        """Return all problems as one, for an item that fails because of them."""
        if len(self.problems) == 1:
            return self.problems[0]
        first, *others = self.problems
        if all(problem.within == first.within for problem in others):
            where = [place for problem in self.problems for place in problem.where]
            return Problem(str(self), tuple(dict.fromkeys(where)), first.fix, first.within)
        places = [place for problem in self.problems for place in problem.places]
        return Problem(str(self), tuple(dict.fromkeys(places)), first.fix)

    @classmethod
    def several(cls, problems: Sequence[Problem]) -> BlissmaskError:
        """Return one error that carries all ``problems`` (at least one)."""
        error = cls(problems[0].what)
        error.problems = tuple(problems)
        return error


def left_undone(what: str, error: Exception) -> Problem:
    """Return the problem of something that may fail without ending a run.

    Args:
        what: what was not done.
        error: why; its files and sentences are the places.
    """
    if isinstance(error, BlissmaskError):
        return Problem(what, tuple(problem.line for problem in error.problems), error.problems[0].fix)
    return Problem(what, (str(error),))


class InputError(BlissmaskError):
    """The input prevents the work."""


class MediaError(InputError):
    """A picture or video cannot be read."""


class MaskError(InputError):
    """A mask is missing, misaligned or unusable."""


class CacheError(InputError):
    """A cache entry is missing, foreign or damaged."""


class ChangedError(InputError):
    """A file changed, appeared or vanished between plan and run; the next run plans its item anew."""


class ModelError(InputError):
    """A model file or its weights cannot be used."""


class MachineError(BlissmaskError):
    """The machine prevents the work: disk full, out of memory, no such device."""


class MissingPackageError(BlissmaskError):
    """An optional package is not installed."""


class UsageError(BlissmaskError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class BusyError(BlissmaskError):
    """Another blissmask writes to the same output."""

    exit_code = 4


class StoppedError(BlissmaskError):
    """The work was stopped by a signal after the current item; a second run continues.

    Args:
        signal_number: 1 (SIGHUP), 2 (SIGINT) or 15 (SIGTERM); the exit code is 128 + the number.
    """

    def __init__(self, what: str, *, signal_number: int, fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.signal_number = signal_number


_FAILS_EVERY_FILE = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Errors of the system that the next file would meet, too: no room, no memory, no file handles."""


def file_error(error: OSError) -> InputError | None:
    """Return the system's refusal of one file as an error that names it; None when it is not about one file."""
    # The number of an open file instead of a name tells nobody which file it is.
    if error.filename is None or isinstance(error.filename, int) or error.errno in _FAILS_EVERY_FILE:
        return None
    return InputError(f"the file cannot be read: {error.strerror or error}", where=[os.fsdecode(error.filename)])


@contextlib.contextmanager
def naming_files() -> Iterator[None]:
    """Turn the system's refusal of one file into an error that names it; see :func:`file_error`."""
    try:
        yield
    except OSError as error:
        refusal = file_error(error)
        if refusal is None:
            raise
        raise refusal from error


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, or the name of its class when it has no text."""
    return str(error).partition("\n")[0] or type(error).__name__


def first_few(names: Sequence[str], *, most: int = 8) -> list[str]:
    """Return the names to say in a message: at most ``most``, and how many more there are.

    Eight fill a third of a small terminal, and show how the names of a file differ from those that were expected.
    """
    rest = len(names) - most
    return [*names[:most], f"and {rest} more"] if rest > 0 else list(names)


def exit_code_of(error: BlissmaskError) -> int:
    """Return the process exit code for ``error``."""
    if isinstance(error, StoppedError):
        return 128 + error.signal_number
    return error.exit_code
