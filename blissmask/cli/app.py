"""The console command: six subcommands built from their sections of the configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer  # noqa: TID251
import typer.core  # noqa: TID251

from blissmask import __version__
from blissmask.cli.commands import COMMANDS
from blissmask.cli.context import CONTEXT_SETTINGS, without_bool
from blissmask.cli.guarded import guarded
from blissmask.cli.usage import unknown_command
from blissmask.ui.help_screen import HelpScreen, OptionLine, Topic, show_help


def main() -> None:
    """Run the console command and exit with its code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A file name that is not valid text must not end a run that printed it.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = _help_at_the_end(sys.argv[1:])
    sys.exit(guarded(lambda: build_app()(arguments, prog_name="blissmask", standalone_mode=False), arguments))


def _open_closed_streams() -> None:
    """Let what is printed go nowhere after ``>&-`` or ``2>&-``, where Python has None for a stream.

    The descriptor is taken, too: else the next file that is opened would be stdout for libraries written in C.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (open until the end)


def _help_at_the_end(arguments: list[str]) -> list[str]:
    """Let ``blissmask help masks`` be ``blissmask masks --help``, as with git and cargo."""
    return [*arguments[1:2], "--help"] if arguments[:1] == ["help"] else arguments


def build_app() -> typer.Typer:
    """Return the Typer application: the list of subcommands, each of which is made when it is named."""
    app = typer.Typer(
        cls=_Group,
        no_args_is_help=True,
        context_settings=CONTEXT_SETTINGS,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_top_level)
    for command in COMMANDS:
        app.command(command.name, short_help=command.summary)(_listed)
    return app


def _listed() -> None:
    """Stand in the list of commands; see :class:`_Group`."""


def _show_version(value: bool) -> None:  # noqa: FBT001 - Typer calls it
    if value:
        typer.echo(f"blissmask {__version__}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_show_version)]


def _show_starter(context: typer.Context, value: str | None) -> None:
    if value is not None and not context.resilient_parsing:
        from blissmask.cli.starters import show_starter

        show_starter(value, context.params.get("photos"))
        raise typer.Exit


def _starters() -> list[tuple[str, str]]:
    from blissmask.cli.starters import names

    return list(names().items())


_Starter = Annotated[
    str | None,
    typer.Option(callback=_show_starter, autocompletion=_starters),
]
# Eager, so that it is known when the starter is printed.
_Photos = Annotated[
    Path | None,
    typer.Option(is_eager=True),
]


def _top_level(
    version: _Version = False,  # noqa: FBT002 - Typer calls it
    starter: _Starter = None,
    photos: _Photos = None,
) -> None:
    """Take the options that stand before a subcommand."""


def _help_screen() -> HelpScreen:
    from blissmask.cli.starters import names

    options = [
        OptionLine("--starter", "NAME", f"Print a configuration to start from: {', '.join(names())}"),
        OptionLine("--photos", "DIR", "With `--starter`, the folder of the photos that it is for"),
        OptionLine("--install-completion", "", "Let the <Tab> key complete commands, flags and values in this shell"),
        OptionLine("--show-completion", "", "Print what that adds to the shell, to copy or to change it"),
        OptionLine("--version", "", "Show the version"),
        OptionLine("-h, --help", "", "Show this page; `blissmask COMMAND --help` shows a command's"),
    ]
    return HelpScreen(
        usage="blissmask [OPTIONS] COMMAND ...",
        summary="Train a LoRA on what matters in a picture: weighted masks, from the photos to the trained file.",
        topics=[Topic("Options", options)],
        choices={"COMMAND": {command.name: command.summary for command in COMMANDS}},
        examples=(
            "blissmask masks -i photos -o masks --sheet sheet.html",
            "blissmask --starter person --photos photos > blissmask.toml",
            "blissmask train --prepare",
        ),
        more="One person alone: masks, cache, train. In group photos: masks, instance, apply, cache, train. "
        "`train --prepare` goes the whole road.",
    )


class _Group(typer.core.TyperGroup):
    """The six subcommands.

    The list of them needs no flags, and reading the configuration for flags takes as long as the rest of
    ``blissmask --help`` together; so a subcommand becomes whole when it is named.
    """

    def whole_commands(self) -> Mapping[str, Any]:
        """Return name -> subcommand with its flags, all of them, in the order of the help."""
        # Here, since it reads the whole configuration.
        from blissmask.cli.subcommand import whole_command

        return {command.name: whole_command(command) for command in COMMANDS}

    def format_help(self, ctx: Any, formatter: Any) -> None:
        show_help(_help_screen())

    def get_params(self, ctx: Any) -> list[Any]:
        return without_bool(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0].replace("_", "-")
        if name not in self.commands and not ctx.resilient_parsing:
            raise unknown_command(args[0], self.commands, ctx)
        found, listed, rest = super().resolve_command(ctx, args)
        if listed is None:
            return found, None, rest
        from blissmask.cli.subcommand import whole_command

        return found, whole_command(next(command for command in COMMANDS if command.name == found)), rest
