"""Turn the complaints of Click and Typer about a wrong command line into our words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from blissmask.cli.starters import names
from blissmask.cli.typed import our_flag
from blissmask.config.other_trainers import advice_for, nearest
from blissmask.errors import Problem, UsageError
from blissmask.plurals import listed, verb

_RESUMING = "`--resume` takes no folder: the newest training state of the `--output-name` is used"
_FLAGS_FIRST = "every file and folder follows a flag, e.g. `--input photos`; quote names that hold spaces"
_STARTER, _PHOTOS = "--starter", "--photos"
_NAMED_HERE = {
    **dict.fromkeys(("-i", "--input"), ("--image-directory",)),
    **dict.fromkeys(("-o", "--output"), ("--output-dir", "--output-directory", "--cache-directory")),
}
"""Flag of the commands that make masks -> what others call the same: their keys are those of data sets."""
_SWITCHES = "a switch takes no value: `--use-mask-loss` turns it on, `--no-use-mask-loss` off"


def as_usage_error(error: Exception, arguments: Sequence[str] = ()) -> UsageError | None:
    """Return Click's complaint about the command line as ours; None when it is something else.

    Typer carries its own copy of Click, so the classes are recognised by their shape.

    Args:
        error: what Click raised.
        arguments: all that was typed: Click stops at the first flag it does not know, and people paste long command
            lines.
    """
    if not hasattr(error, "format_message") or not hasattr(error, "ctx"):
        return None
    context, message = error.ctx, str(error.format_message())
    if not message:
        # Click has shown the help because nothing was typed after the command.
        raise SystemExit(UsageError.exit_code)
    flag = getattr(error, "option_name", None)
    if flag is not None and hasattr(error, "possibilities"):
        return _unknown_flags(flag, arguments, context)
    if flag == _STARTER:
        return UsageError(f"`{flag}` needs a value", fix=f"name one of {', '.join(names())}")
    if flag is not None:
        return UsageError(f"`{flag}` needs a value", fix=_look_at_help(context))
    if message.startswith("Missing command") and _PHOTOS in map(our_flag, arguments):
        return UsageError(f"`{_PHOTOS}` goes with `{_STARTER}`", fix=f"type `blissmask {_STARTER} NAME {_PHOTOS} DIR`")
    if extra := re.fullmatch(r"Got unexpected extra arguments?\S* \((.*)\)", message):
        return UsageError(f"unexpected `{extra[1]}`", fix=f"{_instead_of(extra[1])}\n{_look_at_help(context)}")
    return UsageError(message.rstrip("."), fix=_look_at_help(context))


def unknown_command(typed: str, known: Iterable[str], context: Any) -> UsageError:
    """Return the error for a command that does not exist, with the nearest of ``known``."""
    name = typed.replace("_", "-")
    if getattr(context, "command", None) and _owners(f"--{name}", context) == ["train"]:
        command = f"blissmask train --{name} {_value_of(f'--{name}', 'train', context)}".strip()
        return UsageError(f"unknown command `{typed}`", fix=f"it is a flag: `{command}`")
    near = nearest(name, known)
    return UsageError(
        f"unknown command `{typed}`{f', did you mean `{near}`?' if near else ''}", fix=_look_at_help(context)
    )


def _unknown_flags(first: str, arguments: Sequence[str], context: Any) -> UsageError:
    """Return one error that names every flag that the command does not know."""
    known = {option for parameter in context.command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    typed = {our_flag(text): text.partition("=")[0] for text in arguments if text.startswith("--") and len(text) > 2}
    others = [flag for flag in typed if flag not in known and context.parent is not None]
    wrong = dict.fromkeys([first, *others])
    problems = [_unknown_flag(flag, known, context, shown=typed.get(flag, flag)) for flag in wrong]
    error = UsageError.several(problems)
    assert isinstance(error, UsageError)
    return error


def _unknown_flag(flag: str, known: Iterable[str], context: Any, *, shown: str) -> Problem:
    """Return the problem of a flag that the command does not know; ``shown`` is its spelling on the command line."""
    if owners := _owners(flag, context):
        return _misplaced(shown, owners, context)
    if flag in (_STARTER, _PHOTOS):
        # Here, since every command line imports this module, and few have a mistake.
        from blissmask.config.config_file import DEFAULT_NAME

        return Problem(f"`{shown}` goes without a command", fix=f"type `blissmask {_STARTER} NAME > {DEFAULT_NAME}`")
    if advice := advice_for(flag):
        return Problem(f"`{shown}` is an option of other trainers", fix=advice)
    near = nearest(flag[2:], (option[2:] for option in known if option.startswith("--")))
    return Problem(f"unknown flag `{shown}`{f', did you mean `--{near}`?' if near else ''}", fix=_look_at_help(context))


def _owners(flag: str, context: Any) -> list[str]:
    """Return the commands that have ``flag``, in the order of the help."""
    if context is None:
        return []
    group = context.find_root().command
    return [
        name
        for name, command in group.whole_commands().items()
        if any(flag in option.opts for option in command.params)
    ]


def _value_of(flag: str, name: str, context: Any) -> str:
    """Return what the help shows for the value of a flag that the command has; blank for a switch."""
    command = context.find_root().command.whole_commands()[name]
    return next(option.metavar or "" for option in command.params if flag in option.opts)


def _misplaced(flag: str, owners: Sequence[str], context: Any) -> Problem:
    """Return the problem of a flag that another command has, or that stands before the command."""
    if context.parent is None:
        command = owners[0] if len(owners) == 1 else "COMMAND"
        return Problem(
            f"`{flag}` stands before the command", fix=f"flags come after it: `blissmask {command} {flag} ...`"
        )
    fix = f"{listed(f'`blissmask {name}`' for name in owners)} {verb(len(owners), 'has', 'have')} it"
    known = {option for parameter in context.command.params for option in parameter.opts}
    if here := [name for name in _NAMED_HERE.get(flag, ()) if name in known]:
        fix = f"it is called `{here[0]}` here"
    return Problem(f"`{context.command_path}` has no flag `{flag}`", fix=fix)


def _instead_of(extra: str) -> str:
    """Return how to type a word that stands alone on the command line."""
    if extra.rstrip("/").endswith("-state"):
        return _RESUMING
    if extra.endswith((".toml", ".json", ".yaml", ".yml")):
        return f"did you mean `--config {extra}`?"
    return _SWITCHES if extra.lower() in ("true", "false", "yes", "no", "1", "0") else _FLAGS_FIRST


def _look_at_help(context: Any) -> str:
    return f"`{context.command_path} --help` shows what there is" if context is not None else ""
