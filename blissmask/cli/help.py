"""What the help of a command shows, derived from the fields of its sections.

``--help`` shows the options that people change first (``option(..., first=True)``), ``--help-all`` all of them by
topic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from blissmask.cli.commands import CONFIG_SECTIONS_OF_ALL, Command
from blissmask.cli.options import CONFIG_HELP, flag_of, flags_of, metavar_of, own_fields
from blissmask.config.fields.accepted import choices_of, plain_type, range_text
from blissmask.config.fields.option import shown_of
from blissmask.config.model import table_name
from blissmask.ui.help_screen import HelpScreen, OptionLine, Topic

_RUNNING = "Running"
_CONFIG = OptionLine("-c, --config", "FILE", CONFIG_HELP)
_OF_ALL_SCREENS = 3
"""Options that are no field of the configuration: ``--config``, ``--help-all``, ``--help``."""


@dataclass(frozen=True, slots=True)
class _Option:
    section: str
    name: str
    field: FieldInfo

    @property
    def first(self) -> bool:
        return bool(shown_of(self.field)["first"])

    @property
    def topic(self) -> str:
        return str(shown_of(self.field)["panel"])


def help_screen(command: Command, *, everything: bool) -> HelpScreen:
    """Return the help of ``command``; a command that marks no option as first shows all of them."""

    def line(option: _Option) -> OptionLine:
        return _line(option, names_member=option.name in command.registries)

    own = list(_options(command, command.sections))
    running = list(_options(command, CONFIG_SECTIONS_OF_ALL))
    first = [option for option in own if option.first]
    shortened = bool(first) and not everything
    help_all = OptionLine("--help-all", "", f"Show all {len(own) + len(running) + _OF_ALL_SCREENS} options, by topic")
    help_first = OptionLine("-h, --help", "", "Show the options that people change first")
    lines = [*map(line, running), help_all, help_first]
    topics = list(_by_topic(own, line))
    if shortened:
        topics = [Topic("Options", [_CONFIG, *map(line, first)])]
    else:
        lines.insert(0, _CONFIG)
    topics.append(Topic(_RUNNING, lines))
    count = len(own) - len(first)
    return HelpScreen(
        usage=f"blissmask {command.name} [OPTIONS]",
        summary=f"{command.summary}.",
        topics=topics,
        choices={flag_of(name): registry.members() for name, registry in command.registries.items()},
        examples=command.examples,
        more=f"{count} more options: `blissmask {command.name} --help-all`" if shortened and count else "",
    )


def _options(command: Command, sections: Iterable[str]) -> Iterator[_Option]:
    """Yield the options of some sections that the help shows, in the order of the configuration."""
    for section, name, field in own_fields(sections, only=command.only):
        if not shown_of(field)["hidden"]:
            yield _Option(section, name, field)


def _by_topic(options: Iterable[_Option], line: Callable[[_Option], OptionLine]) -> Iterator[Topic]:
    topics: dict[str, list[_Option]] = {}
    for option in options:
        topics.setdefault(option.topic, []).append(option)
    for title, members in topics.items():
        tables = dict.fromkeys(table_name(member.section).strip("`") for member in members)
        yield Topic(title, [line(member) for member in members], table=" ".join(tables))


def _line(option: _Option, *, names_member: bool) -> OptionLine:
    """Return the line of an option; ``names_member`` says that its value is one of a registry."""
    flag, *short = flags_of(option.name, option.field)
    field = option.field
    value = "NAME" if names_member else "|".join(choices_of(field)) or metavar_of(field)
    if plain_type(field.annotation) is bool:
        value = ""
    facts = "; ".join(filter(None, (range_text(field).removeprefix("in range "), _default_text(flag, field))))
    return OptionLine(", ".join([*short, flag]), value, field.description or "", facts)


def _default_text(flag: str, field: FieldInfo) -> str:
    if later := shown_of(field)["default_text"]:
        return f"default: {later}"
    default: Any = field.default
    if default is None or default is False or default is PydanticUndefined or default == []:
        return ""
    if isinstance(default, (list, tuple)):
        return f"default: {' '.join(str(part) for part in default)}"
    if default is True:
        return f"on, unless --no-{flag.removeprefix('--')}"
    return f"default: {default:g}" if isinstance(default, float) else f"default: {default}"
