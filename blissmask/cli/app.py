"""The console command: six subcommands built from their sections of the configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer  # noqa: TID251
import typer.core  # noqa: TID251

from blissmask import __version__
from blissmask.cli.commands import COMMANDS, CONFIG_SECTIONS_OF_ALL, Command
from blissmask.cli.execute import execute, guarded
from blissmask.cli.help import help_screen
from blissmask.cli.options import PAIR, TYPED, with_flags
from blissmask.cli.starters import names as starter_names
from blissmask.cli.starters import show_starter
from blissmask.cli.typed import flag_every_value
from blissmask.cli.usage import unknown_command
from blissmask.config.load import Spellings
from blissmask.config.other_trainers import our_spelling
from blissmask.ui.help_screen import show_help

_CONTEXT = {
    "help_option_names": ["-h", "--help"],
    # The guide's and musubi-tuner's spellings: `--use_mask_loss`, `to_alpha`, `--t5`.
    "token_normalize_func": our_spelling,
}


def main() -> None:
    """Run the console command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        # A file name that is not valid text must not end a run that printed it.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = _help_at_the_end(sys.argv[1:])
    sys.exit(guarded(lambda: build_app()(arguments, prog_name="blissmask", standalone_mode=False), arguments))


def _help_at_the_end(arguments: list[str]) -> list[str]:
    """Let ``blissmask help masks`` be ``blissmask masks --help``, as with git and cargo."""
    return [*arguments[1:2], "--help"] if arguments[:1] == ["help"] else arguments


def build_app() -> typer.Typer:
    """Return the Typer application with all subcommands."""
    app = typer.Typer(
        help="Train a LoRA on what matters in a picture: weighted masks, from the photos to the trained file.",
        epilog="One person alone: masks, cache, train.  In group photos: masks, instance, apply, cache, train.",
        cls=_Group,
        no_args_is_help=True,
        context_settings=_CONTEXT,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_top_level)
    for command in COMMANDS:
        _add(app, command)
    return app


def _show_version(value: bool) -> None:  # noqa: FBT001 - Typer calls it
    if value:
        typer.echo(f"blissmask {__version__}")
        raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit", is_eager=True, callback=_show_version)
]


def _show_starter(context: typer.Context, value: str | None) -> None:
    if value is not None and not context.resilient_parsing:
        show_starter(value, context.params.get("photos"))
        raise typer.Exit


_Starter = Annotated[
    str | None,
    typer.Option(
        help="Print a configuration to start from: person, group, video, a model family ...",
        metavar="NAME",
        callback=_show_starter,
        autocompletion=lambda: list(starter_names().items()),
    ),
]
# Eager, so that it is known when the starter is printed.
_Photos = Annotated[
    Path | None,
    typer.Option(help="With `--starter`, the folder of the photos that it is for", metavar="DIR", is_eager=True),
]


def _top_level(version: _Version = False, starter: _Starter = None, photos: _Photos = None) -> None:  # noqa: FBT002 - Typer calls it
    """Take the options that stand before a subcommand."""


def _add(app: typer.Typer, command: Command) -> None:
    def handler(config: Path | None, flags: dict[str, dict[str, Any]], spelled: Spellings) -> None:
        raise typer.Exit(execute(command, config, flags, spelled))

    def show_all() -> None:
        show_help(help_screen(command, everything=True))

    app.command(
        command.name,
        help=f"{command.summary}.",
        short_help=command.summary,
        context_settings=_CONTEXT,
        cls=_with_our_help(command),
        no_args_is_help=False,
    )(
        with_flags(
            handler,
            (*command.sections, *CONFIG_SECTIONS_OF_ALL),
            command.registries,
            show_all=show_all,
            only=command.only,
        )
    )


def _with_our_help(command: Command) -> type[typer.core.TyperCommand]:
    """Return a command class with our help screen; registries are read only when it is shown."""

    class WithOurHelp(typer.core.TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            show_help(help_screen(command, everything=False))

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            ctx.meta[TYPED] = tuple(args)
            repeated = [parameter for parameter in self.params if getattr(parameter, "multiple", False)]
            flags = {flag: getattr(parameter, "metavar", "") for parameter in repeated for flag in parameter.opts}
            pairs = {flag for flag, metavar in flags.items() if metavar == PAIR}
            return super().parse_args(ctx, flag_every_value(args, flags.keys() - pairs, pairs))

    return WithOurHelp


class _Group(typer.core.TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_bool(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0].replace("_", "-")
        if name not in self.commands and not ctx.resilient_parsing:
            raise unknown_command(args[0], self.commands, ctx)
        return super().resolve_command(ctx, args)


def _without_bool(parameters: list[Any]) -> list[Any]:
    """Keep Typer from writing `<bool>` beside switches that take no value, such as its own ``--help``."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = " "
    return parameters
