"""The folders of training states: their names, their steps, and the hidden name of one that is half written."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

STATE = "state.json"
"""The numbers of a state."""
FILES = "files"
"""Among these numbers: the names of the files of tensors that belong to it."""
PART = ".blissmask-state-part"
"""End of the hidden name of a state that is being written or removed."""


def state_path(folder: Path, name: str, step: int) -> Path:
    """Return the folder of a state; musubi-tuner names its states the same way."""
    return folder / f"{name}-step{step:08d}-state"


def state_steps(folder: Path, name: str) -> dict[Path, int]:
    """Return the folders with the name of a state of output ``name``, whole or not, and their steps, by steps."""
    pattern = re.compile(re.escape(name) + r"-step(\d{8})-state")
    try:
        # `Path.glob` finds nothing where a folder may not be listed.
        names = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {folder / match[0]: int(match[1]) for match in map(pattern.fullmatch, names) if match}


def hidden_name(path: Path) -> Path:
    """Return a hidden name of its own for a state that is being written or removed."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART}")
