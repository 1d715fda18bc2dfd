"""Read TOML and flags into one Config; report everything that is wrong at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from blissmask.config.config_file import dataset_tables, read_config_file
from blissmask.config.flags import Flags, Spellings, merge_flags
from blissmask.config.mistakes import describe, headline
from blissmask.config.model import Config
from blissmask.config.other_trainers import DATASET_KEYS
from blissmask.config.sections.dataset_section import SUBJECTS
from blissmask.config.unknown_keys import where_to_move
from blissmask.errors import UsageError


def load_config(path: Path | None, flags: Flags, spellings: Spellings = MappingProxyType({})) -> Config:
    """Merge the file at ``path``, if any, and ``flags`` into a Config.

    A flag wins over the file, and the file over the default.

    Args:
        path: the configuration file.
        flags: what was typed.
        spellings: how flags are quoted in messages; those that are missing are quoted as the guide spells them.

    Raises:
        UsageError: the file cannot be read, or values are wrong; lists all of them with the nearest valid names.
    """
    data = read_config_file(path) if path else {}
    problems = _rename_keys(data)
    typed = merge_flags(data, flags, spellings)
    fix = ""
    try:
        config = Config.model_validate(data, context={SUBJECTS: _names_of_subjects(data)})
    except ValidationError as error:
        details = error.errors()
        seen = dict.fromkeys([*problems, *(describe(detail, typed) for detail in details)])
        problems = list(seen)
        fix = where_to_move([str(detail["loc"][-1]) for detail in details if detail["type"] == "extra_forbidden"])
    if problems:
        raise UsageError(headline(problems, path, typed), where=problems, fix=fix)
    config.know_file(path)
    return config


def _names_of_subjects(data: Mapping[str, Any]) -> list[str]:
    """Return the names of [[subjects]], before it is known whether the rest of them is right."""
    tables = data.get("subjects")
    names = [table.get("name") for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    return [name for name in names if isinstance(name, str)]


def _rename_keys(data: dict[str, Any]) -> list[str]:
    """Give dataset keys of musubi-tuner and its forks their name here; return a problem where a dataset has both."""
    problems = []
    for number, dataset in enumerate(dataset_tables(data), 1):
        for theirs, ours in DATASET_KEYS.items():
            if theirs in dataset and ours in dataset:
                problems.append(f"[[datasets]] {number}: `{theirs}` and `{ours}` are the same setting, keep one")
            elif theirs in dataset:
                dataset[ours] = dataset.pop(theirs)
    return problems
