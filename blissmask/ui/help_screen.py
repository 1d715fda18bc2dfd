"""The end of a help screen: what a flag may name, and two examples."""

from __future__ import annotations

from blissmask.ui.console import out


def show_epilog(choices: str, examples: tuple[str, ...]) -> None:
    """Print what a registry holds, and the examples; each line is kept whole so that it can be copied."""
    for block in ([choices] if choices else []) + ["\n".join(["Examples", *(f"  {example}" for example in examples)])]:
        first, *rest = block.splitlines()
        out().print(f" {first}", style="bold")
        for line in rest:
            out().print(f" {line}")
        out().print()
