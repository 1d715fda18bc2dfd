"""One subcommand as Click takes it: a flag for each field of its sections. Made only when it is named."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import typer  # noqa: TID251
import typer.core  # noqa: TID251
import typer.main  # noqa: TID251

from blissmask.cli.commands import CONFIG_SECTIONS_OF_ALL, Command
from blissmask.cli.context import CONTEXT_SETTINGS
from blissmask.cli.execute import execute
from blissmask.cli.help import help_screen
from blissmask.cli.options import PAIR, TYPED, with_flags
from blissmask.cli.typed import flag_every_value
from blissmask.config.flags import Spellings
from blissmask.ui.help_screen import show_help


# Once for each, since a mistyped flag is looked for among all of them, and Typer checks the value of every flag with a
# pydantic adapter of its own: the 190 of `train` take 40 ms each time.
@functools.cache
def whole_command(command: Command) -> Any:
    """Return the Click command of a subcommand, with a flag for each of its fields."""

    def handler(config: Path | None, flags: dict[str, dict[str, Any]], spelled: Spellings) -> None:
        raise typer.Exit(execute(command, config, flags, spelled))

    def show_all() -> None:
        show_help(help_screen(command, everything=True))

    alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    alone.command(
        command.name,
        help=f"{command.summary}.",
        short_help=command.summary,
        context_settings=CONTEXT_SETTINGS,
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
    return typer.main.get_command(alone)


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
