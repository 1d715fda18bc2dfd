"""Derive a command's flags from sections of the configuration.

A field is a flag, with the same name, help, default and range.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer  # noqa: TID251
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from blissmask.cli.typed import spellings
from blissmask.config.fields import choices_of, item_type, plain_type, range_text
from blissmask.config.load import Spellings
from blissmask.config.model import section_type
from blissmask.plugins import Registry

PAIR = "KEY=VALUE"
"""Metavar of flags that take one pair each and may be repeated."""

HELP_PANEL = "Running"
"""The panel for what every command has."""

_METAVARS: Mapping[Any, str] = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}

_ALL: Mapping[str, Collection[str]] = {}

TYPED = "typed"
"""Key of the context's ``meta``: the arguments of the command as they were typed."""

Handler = Callable[[Path | None, dict[str, dict[str, Any]], Spellings], None]
"""Receives the named configuration file, what was typed (section -> field -> text, list of texts, or bool), and how."""


def with_flags(
    handler: Handler,
    sections: tuple[str, ...],
    registries: Mapping[str, Registry],
    *,
    only: Mapping[str, Collection[str]] = _ALL,
) -> Callable[..., None]:
    """Return a function that Typer reads as a command with one flag per field of ``sections``; it calls ``handler``.

    Values reach the handler as typed, unconverted, so that validation can report all problems of file and flags
    together.

    Args:
        handler: called with the named configuration file, what was typed, and how flags were spelled.
        sections: names of sections of the configuration.
        registries: field -> the registry whose names it takes, for shell completion.
        only: section -> the fields that become flags; all of those that are not named.
    """
    owners: dict[str, tuple[str, str]] = {}
    parameters: list[inspect.Parameter] = []
    for section in sections:
        for name, field in section_type(section).model_fields.items():
            if name in owners or name not in only.get(section, (name,)):
                continue
            parameters += _field_parameters(name, field, registries.get(name))
            owners[name] = (section, name)
    parameters.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    parameters.append(_parameter("config", Path | None, _config_option()))
    parameters.append(_parameter("dataset_config", Path | None, typer.Option("--dataset-config", hidden=True)))

    def command(*, context: typer.Context, **given: Any) -> None:
        config, older_name = given.pop("config"), given.pop("dataset_config")
        config = config or older_name
        flags: dict[str, dict[str, Any]] = {}
        for parameter, value in given.items():
            positive = parameter.removeprefix("not__")
            section, name = owners[positive]
            # Typer gives an empty list for a repeatable option that was not used.
            if value is None or value == [] or value is False:
                continue
            flags.setdefault(section, {})[name] = parameter == positive if value is True else value
        by_flag = {
            flag: owners[str(option.name).removeprefix("not__")]
            for option in context.command.params
            if str(option.name).removeprefix("not__") in owners
            for flag in option.opts
        }
        handler(config, flags, spellings(context.meta[TYPED], by_flag))

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _config_option() -> Any:
    return typer.Option(
        "--config",
        "-c",
        help="Configuration file; `blissmask.toml` in the working folder when not given. "
        "`--dataset-config` is the same",
        metavar="FILE",
        envvar="BLISSMASK_CONFIG",
        rich_help_panel=HELP_PANEL,
        show_default=False,
        show_envvar=False,
    )


def flag_of(name: str) -> str:
    """Return the flag of a field that has no spelling of its own, e.g. ``--mask-gamma``."""
    return f"--{name.replace('_', '-')}"


def _field_parameters(name: str, field: FieldInfo, registry: Registry | None) -> list[inspect.Parameter]:
    shown = field.json_schema_extra
    assert isinstance(shown, dict)
    flag = f"--{shown['flag']}" if shown["flag"] else flag_of(name)
    names = [flag, *([str(shown["short"])] if shown["short"] else [])]
    common: dict[str, Any] = {
        "help": _help_text(name, field),
        "rich_help_panel": shown["panel"],
        "hidden": bool(shown["hidden"]),
        "show_default": False,
    }
    if plain_type(field.annotation) is bool:
        opposite = typer.Option(f"--no-{flag[2:]}", hidden=True)
        return [
            _parameter(name, bool | None, typer.Option(*names, **common, metavar=" ")),
            _parameter(f"not__{name}", bool | None, opposite),
        ]
    kind = list[str] | None if plain_type(field.annotation) is list else str | None
    metavar = _metavar(field, str(shown["metavar"]))
    option = typer.Option(*names, **common, metavar=metavar, autocompletion=_completion(field, registry))
    return [_parameter(name, kind, option)]


def _completion(field: FieldInfo, registry: Registry | None) -> Callable[[], list[tuple[str, str]]] | None:
    """Return the function that lists the values of a flag for the shell, each with a line about it.

    None leaves the shell to complete file names.
    """
    if registry is None and not choices_of(field):
        return None

    def values() -> list[tuple[str, str]]:
        if registry is not None:
            return list(registry.members().items())
        return [(choice, "") for choice in choices_of(field)]

    return values


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _metavar(field: FieldInfo, given: str) -> str:
    if given:
        return given
    return _METAVARS.get(item_type(field.annotation), "CHOICE" if choices_of(field) else "TEXT")


def _help_text(name: str, field: FieldInfo) -> str:
    # Help texts are Rich markup; a `[` that is meant as itself is escaped.
    text = (field.description or "").replace("[", "\\[")
    # In the text, since a long list in the place of the metavar would leave the text no room.
    choices = f"one of {', '.join(choices_of(field))}" if choices_of(field) else ""
    facts = [choices, range_text(field).removeprefix("in range "), _default_text(name, field)]
    shown = "; ".join(filter(None, facts)).replace("[", "\\[")
    return f"{text} [dim]({shown})[/dim]" if shown else text


def _default_text(name: str, field: FieldInfo) -> str:
    shown = field.json_schema_extra
    assert isinstance(shown, dict)
    if shown["default_text"]:
        return f"default: {shown['default_text']}"
    default = field.default
    if default is None or default is False or default is PydanticUndefined or default == []:
        return ""
    if isinstance(default, (list, tuple)):
        return f"default: {' '.join(str(part) for part in default)}"
    if default is True:
        return f"on, unless --no-{name.replace('_', '-')}"
    return f"default: {default:g}" if isinstance(default, float) else f"default: {default}"
