"""A help screen: topics with their options, what a flag may name, and two examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console  # noqa: TID251
from rich.text import Text  # noqa: TID251

from blissmask.ui.console import NAME, out

_HELP_COLUMN = 28
"""Where the text about an option begins; a longer name has its text on the next line, as with git and curl."""
_WIDEST = 120
"""Longer lines are hard to read."""


@dataclass(frozen=True, slots=True)
class OptionLine:
    """One option.

    Attributes:
        names: its spellings, e.g. ``-c, --config``.
        value: what it takes, e.g. ``NUMBER`` or ``low|high|both``; empty for a switch.
        text: what it does.
        facts: its range and default; empty for none.
    """

    names: str
    value: str
    text: str
    facts: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """A heading with its options.

    Attributes:
        title: the heading.
        table: the table of the configuration that has these options; empty for none.
        options: in the order of the screen.
    """

    title: str
    options: Sequence[OptionLine]
    table: str = ""


@dataclass(frozen=True, slots=True)
class HelpScreen:
    """What a help screen shows.

    Attributes:
        usage: as typed, e.g. ``blissmask masks [OPTIONS]``.
        summary: one sentence.
        topics: the options.
        choices: what is named on the command line, mostly a flag -> name -> one line about it.
        examples: command lines, each of which is kept whole so that it can be copied.
        more: the last line, such as where the options are that this screen leaves out; empty for none.
    """

    usage: str
    summary: str
    topics: Sequence[Topic]
    choices: Mapping[str, Mapping[str, str]]
    examples: Sequence[str]
    more: str = ""


def show_help(screen: HelpScreen) -> None:
    """Print a help screen on stdout."""
    console = out()
    console.print(Text.assemble(("Usage: ", "bold"), screen.usage))
    console.print()
    _print_folded(console, Text(screen.summary), indent=0)
    for topic in screen.topics:
        console.print()
        console.print(Text.assemble((topic.title, "bold"), (f"   {topic.table}" if topic.table else "", "dim")))
        for option in topic.options:
            _print_option(console, option)
    for named, members in screen.choices.items():
        console.print()
        console.print(f"{named} is one of", style="bold")
        column = max(map(len, members)) + 5
        for name, about in members.items():
            _print_beside(console, Text(f"   {name}", NAME), Text(about), column=column)
    console.print()
    console.print("Examples", style="bold")
    for example in screen.examples:
        console.print(f"   {example}")
    if screen.more:
        console.print()
        _print_folded(console, Text(screen.more), indent=0)


def _print_option(console: Console, option: OptionLine) -> None:
    name = Text.assemble("  ", (option.names, NAME))
    value = option.value
    width = _width(console)
    if value and len(name) + 1 + len(value) > width:
        # The many values of a choice go on below its name.
        _print_folded(console, Text.assemble(name, " ", (value.replace("|", "| "), "dim")), indent=4)
        name = Text()
    elif value:
        name.append(f" {value}", "dim")
    text = Text(option.text)
    if option.facts:
        text.append(f" ({option.facts})", "dim")
    _print_beside(console, name, text, column=_HELP_COLUMN)


def _print_beside(console: Console, name: Text, text: Text, *, column: int) -> None:
    """Print ``text`` from ``column`` on, beside ``name`` where that leaves two spaces, else below it."""
    first, *rest = text.wrap(console, _width(console) - column)
    if len(name) + 2 > column:
        console.print(name)
        name = Text()
    console.print(Text.assemble(name, " " * (column - len(name)), _without_end(first)))
    for line in rest:
        console.print(Text.assemble(" " * column, _without_end(line)))


def _print_folded(console: Console, text: Text, *, indent: int) -> None:
    first, *rest = text.wrap(console, _width(console) - indent)
    console.print(_without_end(first))
    for line in rest:
        console.print(Text.assemble(" " * indent, _without_end(line)))


def _without_end(line: Text) -> Text:
    line.rstrip()
    return line


def _width(console: Console) -> int:
    # Narrower than this, a column of text would have room for one word.
    return max(_HELP_COLUMN + 20, min(console.width, _WIDEST))
