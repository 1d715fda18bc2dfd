"""Derive a command's flags from sections of the configuration.

A field is a flag, with the same name, help, default and range.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer  # noqa: TID251
from pydantic.fields import FieldInfo

from blissmask.cli.typed import spellings
from blissmask.config.fields.accepted import choices_of, item_type, plain_type
from blissmask.config.fields.option import shown_of
from blissmask.config.flags import Spellings
from blissmask.config.model import section_type
from blissmask.errors import UsageError
from blissmask.plugins import Registry

PAIR = "KEY=VALUE"
"""Metavar of flags that take one pair each and may be repeated."""

CONFIG_HELP = (
    "Configuration file; `blissmask.toml` in the working folder when not given. `--dataset-config` is the same"
)

_METAVARS: Mapping[Any, str] = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}

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
    show_all: Callable[[], None],
    only: Mapping[str, Collection[str]] = _ALL,
) -> Callable[..., None]:
    """Return a function that Typer reads as a command with one flag per field of ``sections``; it calls ``handler``.

    Values reach the handler as typed, unconverted, so that validation can report all problems of file and flags
    together.

    Args:
        handler: called with the named configuration file, what was typed, and how flags were spelled.
        sections: names of sections of the configuration.
        registries: field -> the registry whose names it takes, for shell completion.
        show_all: prints the help of all options.
        only: section -> the fields that become flags; all of those that are not named.
    """
    owners: dict[str, tuple[str, str]] = {}
    parameters: list[inspect.Parameter] = []
    for section, name, field in own_fields(sections, only=only):
        parameters += _field_parameters(name, field, registries.get(name))
        owners[name] = (section, name)
    parameters.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    parameters.append(_parameter("help_all", bool | None, _help_all_option(show_all)))
    parameters.append(_parameter("config", str | None, _config_option()))
    parameters.append(_parameter("dataset_config", str | None, typer.Option("--dataset-config", hidden=True)))

    def command(*, context: typer.Context, **given: Any) -> None:
        # Its callback has ended the command where it was given.
        del given["help_all"]
        config, older_name = given.pop("config"), given.pop("dataset_config")
        named = older_name if config is None else config
        if named == "":
            # As for every other path: `Path("")` would be the working folder.
            flag = flag_of("dataset_config" if config is None else "config")
            raise UsageError(f"`{flag}` must be a path, and is empty")
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
        handler(None if named is None else Path(named), flags, spellings(context.meta[TYPED], by_flag))

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def own_fields(
    sections: Iterable[str], *, only: Mapping[str, Collection[str]] = _ALL
) -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield section, name and field of each flag of a command; what two sections have is a flag of the first.

    Args:
        sections: names of sections of the configuration.
        only: section -> the fields that become flags; all of those that are not named.
    """
    seen: set[str] = set()
    for section in sections:
        for name, field in section_type(section).model_fields.items():
            if name not in seen and name in only.get(section, (name,)):
                seen.add(name)
                yield section, name, field


def _config_option() -> Any:
    return typer.Option("--config", "-c", help=CONFIG_HELP, metavar="FILE", envvar="BLISSMASK_CONFIG")


def _help_all_option(show_all: Callable[[], None]) -> Any:
    def show(value: bool) -> None:  # noqa: FBT001 - Typer calls it
        if value:
            show_all()
            raise typer.Exit

    return typer.Option("--help-all", help="Show all options, by topic", is_eager=True, callback=show)


def flag_of(name: str) -> str:
    """Return the flag of a field that has no spelling of its own, e.g. ``--mask-gamma``."""
    return f"--{name.replace('_', '-')}"


def flags_of(name: str, field: FieldInfo) -> list[str]:
    """Return the spellings of a field on the command line, the long one first."""
    shown = shown_of(field)
    flag = f"--{shown['flag']}" if shown["flag"] else flag_of(name)
    return [flag, *([str(shown["short"])] if shown["short"] else [])]


def _field_parameters(name: str, field: FieldInfo, registry: Registry | None) -> list[inspect.Parameter]:
    names = flags_of(name, field)
    flag = names[0]
    # The shell shows the help of an option beside its completion.
    common: dict[str, Any] = {"help": field.description, "hidden": bool(shown_of(field)["hidden"])}
    if plain_type(field.annotation) is bool:
        opposite = typer.Option(f"--no-{flag[2:]}", hidden=True)
        return [
            _parameter(name, bool | None, typer.Option(*names, **common, metavar=" ")),
            _parameter(f"not__{name}", bool | None, opposite),
        ]
    kind = list[str] | None if plain_type(field.annotation) is list else str | None
    option = typer.Option(*names, **common, metavar=metavar_of(field), autocompletion=_completion(field, registry))
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


def metavar_of(field: FieldInfo) -> str:
    """Return what the help shows for the value of a flag."""
    given = str(shown_of(field)["metavar"])
    return given or _METAVARS.get(item_type(field.annotation), "CHOICE" if choices_of(field) else "TEXT")
