"""Read a model folder: its configuration, the names of its classes, its licence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError, first_line
from blissmask.licence import Licence
from blissmask.storage.ordinary import read_text

COMMERCIAL = frozenset(
    {
        "apache-2.0",
        "mit",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsl-1.0",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "unlicense",
        "isc",
    }
)
"""Licences that allow commercial use of weights without conditions on who uses them, by the hub's names."""

_KEYS = ("license", "license_name")


def licence_of(folder: Path, *, default: Licence | None = None) -> Licence:
    """Return the licence that the front matter of a model folder's ``README.md`` names.

    Args:
        folder: a model folder.
        default: licence of the backend's own weights, for a folder without a card or with the licence `other`.

    Returns:
        The licence of the card; commercial use counts as forbidden where the licence is unknown to us or missing.
    """
    card = folder / "README.md"
    stated = _front_matter(read_text(card, errors="replace")) if card.is_file() else {}
    name = stated.get("license", "")
    if not name:
        return default or Licence("unknown", commercial=False, note="the model folder has no card that names a licence")
    if name in COMMERCIAL:
        return Licence(
            name, commercial=True, note="as the model card says; the data it was trained on may have terms of its own"
        )
    if default is not None and name == "other":
        return default
    return Licence(
        stated.get("license_name", name), commercial=False, note="as the model card says; read it before you rely on it"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of a model folder.

    Raises:
        ModelError: it is damaged.
    """
    path = folder / "config.json"
    try:
        config = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"`config.json` cannot be read: {first_line(error)}", where=[path]) from error
    if not isinstance(config, dict):
        raise ModelError("`config.json` is no table", where=[path])
    architectures, labels = config.get("architectures") or [], config.get("id2label") or {}
    if not isinstance(architectures, list):
        raise ModelError("`architectures` is no list", where=[path])
    if not isinstance(labels, dict) or not all(re.fullmatch(r"\d{1,9}", key) for key in labels):
        raise ModelError("`id2label` is no table of numbers and names", where=[path])
    return config


def named_classes(config: dict[str, Any]) -> list[str]:
    """Return the transformers classes that a configuration names; may be empty."""
    return [str(name) for name in config.get("architectures") or []]


def another_model(config: dict[str, Any], wanted: str, *, folder: Path, example: str) -> ModelError:
    """Return the error for a folder that does not hold ``wanted``; ``example`` is a hub id of a model that would do."""
    held = ", ".join(named_classes(config)) or f"a `{config.get('model_type', 'unknown')}` model"
    return ModelError(
        f"the folder holds {held}, not {wanted}", where=[folder], fix=f"name one, e.g. a copy of `{example}`"
    )


def class_names(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of ``id2label`` in the order of their ids; empty when the configuration has none."""
    table = config.get("id2label") or {}
    return tuple(str(table[key]) for key in sorted(table, key=int))


def _front_matter(card: str) -> dict[str, str]:
    lines = card.splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    stated = {}
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, colon, value = line.partition(":")
        if colon and key in _KEYS:
            stated[key] = value.strip().strip("'\"").lower()
    return stated
