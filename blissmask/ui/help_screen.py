"""The end of a help screen: what a flag may name, and two examples."""

from __future__ import annotations

from collections.abc import Mapping

from rich.padding import Padding  # noqa: TID251
from rich.table import Table  # noqa: TID251

from blissmask.ui.console import out


def show_epilog(choices: Mapping[str, Mapping[str, str]], examples: tuple[str, ...]) -> None:
    """Print what flags may name, and the examples, each of which is kept whole so that it can be copied.

    Args:
        choices: flag -> name -> one line about it.
        examples: command lines.
    """
    for flag, members in choices.items():
        out().print(f" {flag} is one of", style="bold")
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, about in members.items():
            table.add_row(name, about)
        out().print(Padding(table, (0, 0, 0, 3)), soft_wrap=False)
        out().print()
    out().print(" Examples", style="bold")
    for example in examples:
        out().print(f"   {example}")
    out().print()
