"""What was typed on the command line: read as people mean it, and quoted as they wrote it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from blissmask.cli.commands import COMMANDS
from blissmask.config.other_trainers import our_spelling

if TYPE_CHECKING:
    from blissmask.config.flags import Flags, Spellings

# A word such as `-5` is a number, not a flag.
_FLAG = re.compile(r"--?[A-Za-z].*", re.DOTALL)


def our_flag(typed: str) -> str:
    """Return the flag that is meant: with hyphens, by our name for it, and without a value behind ``=``."""
    name = typed.partition("=")[0]
    return f"--{our_spelling(name[2:])}" if name.startswith("--") else name


def flag_every_value(arguments: Sequence[str], lists: Collection[str], pairs: Collection[str]) -> list[str]:
    """Give every value of a list a flag of its own.

    People type ``-r a.jpg b.jpg``, and so does a shell that expands ``-r refs/*.jpg``. musubi-tuner's lists are typed
    ``--optimizer_args a=1 b=2``.

    Args:
        arguments: what was typed.
        lists: flags that may be repeated; every word up to the next flag is theirs.
        pairs: flags that may be repeated and take pairs; only words with ``=`` are theirs.
    """
    flagged: list[str] = []
    flag, has_value = "", False
    for argument in arguments:
        if _FLAG.fullmatch(argument):
            name, inline, _ = argument.partition("=")
            flag = name if our_flag(name) in (*lists, *pairs) else ""
            has_value = bool(inline)
        elif flag and has_value and ("=" in argument or our_flag(flag) in lists):
            # The first value stands behind the flag that was typed; each further one gets the flag again.
            flagged.append(flag)
        else:
            has_value = True
        flagged.append(argument)
    return flagged


def spellings(arguments: Iterable[str], fields: Mapping[str, tuple[str, str]]) -> Spellings:
    """Return how each flag was typed.

    Args:
        arguments: what was typed.
        fields: our flag -> the section and the field that it sets.
    """
    typed = {}
    for argument in arguments:
        field = fields.get(our_flag(argument)) if _FLAG.fullmatch(argument) else None
        if field is not None:
            typed[field] = argument.partition("=")[0]
    return typed


def typed_for_commands(flags: Flags, spelled: Spellings) -> dict[str, dict[str, str]]:
    """Return what was typed that other commands take, too: command -> our flag -> the flag with its value, as typed.

    A hint that names a command can so be typed as it is shown.
    """
    from blissmask.config.model import section_type

    texts: dict[str, dict[str, str]] = {command.name: {} for command in COMMANDS}
    for command in COMMANDS:
        for section in command.sections:
            taken = command.only.get(section, tuple(section_type(section).model_fields))
            for name, value in flags.get(section, {}).items():
                flag = spelled.get((section, name))
                if flag is not None and name in taken:
                    texts[command.name][our_flag(flag)] = _with_value(flag, value)
    return texts


def _with_value(flag: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag
    values = value if isinstance(value, list) else [value]
    return " ".join([flag, *map(shlex.quote, values)])
