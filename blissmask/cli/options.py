"""Derive a command's flags from sections of the configuration: a field is a flag, with the same name, help, default and range."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer  # noqa: TID251
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from blissmask.config.fields import item_type, plain_type, range_text
from blissmask.config.model import section_type

_METAVARS: Mapping[Any, str] = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}

Handler = Callable[[Path | None, dict[str, dict[str, Any]]], None]
"""Receives the named configuration file and what was typed: section -> field -> text, list of texts, or bool."""


def with_flags(handler: Handler, sections: tuple[str, ...]) -> Callable[..., None]:
    """Return a function that Typer reads as a command with one flag per field of ``sections``, and that calls ``handler``.

    Values reach the handler as typed, unconverted, so that validation can report all problems of file and flags together.
    """
    owners: dict[str, tuple[str, str]] = {}
    parameters: list[inspect.Parameter] = []
    for section in sections:
        for name, field in section_type(section).model_fields.items():
            if name in owners:
                continue
            parameters += _field_parameters(name, field)
            owners[name] = (section, name)
    parameters.append(_parameter("config", Path | None, _config_option()))

    def command(**given: Any) -> None:
        config = given.pop("config")
        flags: dict[str, dict[str, Any]] = {}
        for parameter, value in given.items():
            positive = parameter.removeprefix("not__")
            section, name = owners[positive]
            # Typer gives an empty list for a repeatable option that was not used.
            if value is None or value == [] or value is False:
                continue
            flags.setdefault(section, {})[name] = parameter == positive if value is True else value
        handler(config, flags)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _config_option() -> Any:
    return typer.Option(
        "--config",
        "--dataset-config",
        "-c",
        help="Configuration file; `blissmask.toml` in the working folder when not given",
        metavar="FILE",
        envvar="BLISSMASK_CONFIG",
        rich_help_panel="Running",
        show_default=False,
        show_envvar=False,
    )


def _field_parameters(name: str, field: FieldInfo) -> list[inspect.Parameter]:
    shown = field.json_schema_extra
    assert isinstance(shown, dict)
    flag = f"--{shown['flag'] or name.replace('_', '-')}"
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
    option = typer.Option(*names, **common, metavar=_metavar(field, str(shown["metavar"])))
    return [_parameter(name, kind, option)]


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _metavar(field: FieldInfo, given: str) -> str:
    if given:
        return given
    return _METAVARS.get(item_type(field.annotation), "CHOICE" if _choices(field) else "TEXT")


def _choices(field: FieldInfo) -> str:
    """Return what a field with a fixed set of values takes; in the text, since a long list would leave it no room."""
    kind = item_type(field.annotation)
    return "one of " + ", ".join(map(str, typing.get_args(kind))) if typing.get_origin(kind) is typing.Literal else ""


def _help_text(name: str, field: FieldInfo) -> str:
    # Help texts are Rich markup; a `[` that is meant as itself is escaped.
    text = (field.description or "").replace("[", "\\[")
    told = "; ".join(filter(None, [_choices(field), range_text(field).removeprefix("in range "), _default_text(name, field)])).replace(
        "[", "\\["
    )
    return f"{text} [dim]({told})[/dim]" if told else text


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
