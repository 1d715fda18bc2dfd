"""What the list of commands and every subcommand share: spellings of flags, and how switches are shown."""

from __future__ import annotations

from typing import Any

from blissmask.config.other_trainers import our_spelling

CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    # The guide's and musubi-tuner's spellings: `--use_mask_loss`, `to_alpha`, `--t5`.
    "token_normalize_func": our_spelling,
}


def without_bool(parameters: list[Any]) -> list[Any]:
    """Keep Typer from writing `<bool>` beside switches that take no value, such as its own ``--help``."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = " "
    return parameters
