"""What a subcommand is: its sections of the configuration, its task, its help, and the examples that end the help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CONFIG_SECTIONS_OF_ALL = ("run",)


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    Attributes:
        name: as typed.
        summary: one line in the imperative, shown in the list of commands and at the top of its help.
        sections: configuration sections whose fields are its flags, besides ``run``.
        task: dotted name of the module in ``tasks/`` with ``plan`` and ``run``.
        examples: two command lines for the end of the help screen.
        choices: text that lists what a flag may name, read from a registry when the help is shown; empty for none.
    """

    name: str
    summary: str
    sections: tuple[str, ...]
    task: str
    examples: tuple[str, ...]
    choices: Callable[[], str] = lambda: ""
