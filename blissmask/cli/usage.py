"""What Click and Typer say about a wrong command line, in our words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from blissmask.config.other_trainers import advice_for
from blissmask.errors import UsageError

_RESUMING = "`--resume` takes no folder: the newest training state of the `--output-name` is used"


def as_usage_error(error: Exception) -> UsageError | None:
    """Return Click's complaint about the command line as ours; None when it is something else.

    Typer carries its own copy of Click, so the classes are recognised by their shape.
    """
    if not hasattr(error, "format_message") or not hasattr(error, "ctx"):
        return None
    context, message = error.ctx, str(error.format_message())
    if not message:
        # Click has shown the help because nothing was typed after the command.
        raise SystemExit(UsageError.exit_code)
    flag = getattr(error, "option_name", None)
    if flag is not None and hasattr(error, "possibilities"):
        return unknown("flag", flag, error.possibilities or (), context)
    if flag is not None:
        return UsageError(f"`{flag}` needs a value", fix=_look_at_help(context))
    if extra := re.fullmatch(r"Got unexpected extra arguments?\S* \((.*)\)", message):
        fix = _RESUMING if extra[1].rstrip("/").endswith("-state") else "files and folders are named by flags"
        return UsageError(f"`{extra[1]}` belongs to no flag", fix=f"{fix}\n{_look_at_help(context)}")
    return UsageError(message.rstrip("."), fix=_look_at_help(context))


def unknown(noun: str, typed: str, known: Iterable[str], context: Any) -> UsageError:
    """Return the error for a ``noun`` (flag, command) that does not exist, with the nearest of ``known``."""
    if noun == "flag" and (owners := _owners(typed, context)):
        return _misplaced(typed, owners, context)
    if noun == "flag" and (advice := advice_for(typed)):
        return UsageError(f"`{typed}` is an option of other trainers", fix=advice)
    near = difflib.get_close_matches(typed.replace("_", "-"), list(known), n=1)
    return UsageError(f"unknown {noun} `{typed}`{f', did you mean `{near[0]}`?' if near else ''}", fix=_look_at_help(context))


def _owners(flag: str, context: Any) -> list[str]:
    """Return the commands that have ``flag``, in the order of the help."""
    group = context.find_root().command if context is not None else None
    return [name for name, command in getattr(group, "commands", {}).items() if any(flag in option.opts for option in command.params)]


def _misplaced(flag: str, owners: Sequence[str], context: Any) -> UsageError:
    """Return the error for a flag that another command has, or that stands before the command."""
    if context.parent is None:
        command = owners[0] if len(owners) == 1 else "COMMAND"
        return UsageError(f"`{flag}` stands before the command", fix=f"flags come after it: `blissmask {command} {flag} ...`")
    where = " and ".join(f"`blissmask {name}`" for name in owners)
    return UsageError(f"`{context.command_path}` has no flag `{flag}`", fix=f"{where} {'has' if len(owners) == 1 else 'have'} it")


def _look_at_help(context: Any) -> str:
    return f"`{context.command_path} --help` shows what there is" if context is not None else ""
