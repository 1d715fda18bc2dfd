"""What a subcommand is: its sections of the configuration, its task, its help, and the examples that end the help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blissmask.config.model import Config
from blissmask.plugins import Registry

CONFIG_SECTIONS_OF_ALL = ("run",)


@dataclass(frozen=True, slots=True)
class Task:
    """Where the work of a command is written; both modules are imported when they are needed.

    Attributes:
        plan: dotted name of the module with ``plan(config) -> Plan``.
        run: dotted name of the module with ``run(plan, context) -> Summary``.
    """

    plan: str
    run: str


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    Attributes:
        name: as typed.
        summary: one line in the imperative, shown in the list of commands and at the top of its help.
        sections: configuration sections whose fields are its flags, besides ``run``.
        only: section -> the fields of it that mean something to this command; all where it is not named.
        task: what does the work.
        other_tasks: (section, field) -> what does the work instead when that field is given; the first one that is
            given counts.
        examples: two command lines for the end of the help screen.
        registries: field whose values are the names of a registry -> that registry; it is read only for help and
            completion.
    """

    name: str
    summary: str
    sections: tuple[str, ...]
    task: Task
    examples: tuple[str, ...]
    registries: Mapping[str, Registry] = field(default_factory=dict)
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    other_tasks: Mapping[tuple[str, str], Task] = field(default_factory=dict)

    def task_for(self, config: Config) -> Task:
        """Return the task that does what ``config`` asks for."""
        for (section, name), task in self.other_tasks.items():
            if getattr(getattr(config, section), name) is not None:
                return task
        return self.task
