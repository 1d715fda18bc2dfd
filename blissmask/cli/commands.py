"""What a subcommand is: its sections of the configuration, its task, its help, and the examples that end the help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blissmask.plugins import Registry

CONFIG_SECTIONS_OF_ALL = ("run",)


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    Attributes:
        name: as typed.
        summary: one line in the imperative, shown in the list of commands and at the top of its help.
        sections: configuration sections whose fields are its flags, besides ``run``.
        only: section -> the fields of it that mean something to this command; all where it is not named.
        task: dotted name of the module in ``tasks/`` with ``plan`` and ``run``.
        examples: two command lines for the end of the help screen.
        registries: field whose values are the names of a registry -> that registry; it is read only for help and
            completion.
    """

    name: str
    summary: str
    sections: tuple[str, ...]
    task: str
    examples: tuple[str, ...]
    registries: Mapping[str, Registry] = field(default_factory=dict)
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
