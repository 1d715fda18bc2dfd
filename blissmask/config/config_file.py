"""The configuration file as plain data: where it is, and reading it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blissmask.documents import DocumentError, parse_json, parse_toml, refuse_half_characters
from blissmask.errors import UsageError
from blissmask.storage.limits import MOST_CONFIG, MOST_KEYS, refuse_larger
from blissmask.storage.near_miss import near_miss_and
from blissmask.storage.ordinary import read_text

DEFAULT_NAME = "blissmask.toml"
"""Read from the working folder when no file is named."""

_STARTERS = {"instance": "group", "apply": "group", "to_alpha": "alpha"}
"""Table -> the starter that has it, for tables that `person` does not have."""


def find_config(named: Path | None) -> Path | None:
    """Return the file to read: ``named``, else ``blissmask.toml`` in the working folder; None where neither is."""
    if named is not None:
        return named
    default = Path(DEFAULT_NAME)
    return default if default.is_file() else None


def how_to_start(read: Path | None, table: str = "") -> str:
    """Return how to come to a configuration that has ``table``; one that is here is not to be written over.

    Args:
        read: the configuration file that was read, if any was.
        table: the TOML table that is needed; empty for those that every starter has.
    """
    name = _STARTERS.get(table, "person")
    if read is not None:
        return f"`{read}` was read; `blissmask --starter {name}` prints an example"
    return f"{Path.cwd()} has no `{DEFAULT_NAME}`, which is read from where you are; {_written(name)}"


def _written(name: str) -> str:
    return f"`blissmask --starter {name} > {DEFAULT_NAME}` writes one to start from"


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML or JSON file, by name, nothing in them looked at yet.

    Raises:
        UsageError: the file cannot be read, is too large, or is no table.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        fix = f"configurations of ai-toolkit are not read; {_what_is_here()}"
        raise UsageError("the configuration must be TOML (or JSON), and this is YAML", where=[path], fix=fix)
    try:
        refuse_larger(path, MOST_CONFIG)
        raw = read_text(path, encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration: {error.strerror}",
            where=[path],
            fix=near_miss_and(path, f"paths start at {Path.cwd()}; {_what_is_here()}"),
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("the configuration is not UTF-8 text", where=[path], fix="save it as UTF-8") from error
    try:
        data = _parse(raw, is_json=path.suffix.lower() == ".json")
    except DocumentError as error:
        where = [f"{path}, {error.place}" if error.place else path]
        raise UsageError(f"the configuration cannot be parsed: {error}", where=where, fix=error.fix) from error
    if not isinstance(data, dict):
        raise UsageError("the configuration must be a table", where=[path])
    if _keys_in(data) > MOST_KEYS:
        raise UsageError(f"the configuration has more than the {MOST_KEYS} keys that are read", where=[path])
    return data


def _what_is_here() -> str:
    if Path(DEFAULT_NAME).is_file():
        return f"`{DEFAULT_NAME}` is there, and is read without `--config`"
    return _written("person")


def _parse(text: str, *, is_json: bool) -> Any:
    if not is_json:
        return parse_toml(text)
    value = parse_json(text)
    refuse_half_characters(value)
    return value


def _keys_in(value: Any) -> int:
    """Return the number of keys in a value, tables in it included; counting ends beyond the limit."""
    count, waiting = 0, [value]
    while waiting and count <= MOST_KEYS:
        inner = waiting.pop()
        if isinstance(inner, dict):
            count += len(inner)
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
    return count


def dataset_tables(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of [[datasets]]; what is no table, or no list, is left for the validation to name."""
    datasets = data.get("datasets")
    if not isinstance(datasets, list):
        return []
    return [dataset for dataset in datasets if isinstance(dataset, dict)]
