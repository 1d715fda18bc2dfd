"""Read TOML and flags into one Config; report everything that is wrong at once."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from blissmask.config.fields.accepted import choices_of, item_type, plain_type, range_text
from blissmask.config.model import Config, section_type
from blissmask.config.other_trainers import advice_for, nearest
from blissmask.config.sections.dataset_section import SUBJECTS
from blissmask.config.sections.mask_loss_section import PRESET_FIELDS
from blissmask.documents import DocumentError, parse_json, parse_toml, refuse_half_characters
from blissmask.errors import UsageError
from blissmask.plurals import counted
from blissmask.storage.limits import MOST_CONFIG, MOST_KEYS, refuse_larger
from blissmask.storage.ordinary import read_text

_MOST_SHOWN = 200
"""Characters of a value that messages show."""

DEFAULT_NAME = "blissmask.toml"
"""Read from the working folder when no file is named."""

_START = f"`blissmask --starter NAME > {DEFAULT_NAME}` writes a configuration to start from"
STARTER = _START.replace("NAME", "person")
"""How to mend that there is no configuration."""
STARTERS = {
    table: _START.replace("NAME", name)
    for table, name in {"instance": "group", "apply": "group", "to_alpha": "alpha"}.items()
}
"""Table -> the same with a starter that has it, for tables that the first one does not have."""

_DECIMAL_COMMA = re.compile(r"-?\d+,\d+(?:e-?\d+)?")
"""A number as it is written in much of Europe."""
_LISTS = ("datasets", "subjects")
"""Sections of which there may be several tables."""

Flags = Mapping[str, Mapping[str, Any]]
"""Section name -> field name -> what was typed: text, a list of texts, or a bool.

Dataset fields stand under ``datasets``.
"""

Spellings = Mapping[tuple[str, str], str]
"""Section and field -> the flag as it was typed: ``--mask_gamma``, ``-i``."""

_OTHER_NAMES = {
    "flux_kontext_no_resize_control": "no_resize_control",
    "qwen_image_edit_no_resize_control": "no_resize_control",
    "qwen_image_edit_control_resolution": "control_resolution",
    # These four are from AkaneTendo25's fork of musubi-tuner, which trains with masks.
    "loss_mask_directory": "mask_directory",
    "default_loss_mask_path": "default_mask",
    "loss_mask_use_alpha": "alpha_mask",
    "loss_mask_invert": "invert_mask",
}


def find_config(named: Path | None) -> Path | None:
    """Return the file to read: ``named``, else ``blissmask.toml`` in the working folder; None where neither is."""
    if named is not None:
        return named
    default = Path(DEFAULT_NAME)
    return default if default.is_file() else None


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
    data = _read_file(path) if path else {}
    problems = _rename_keys(data)
    typed = _merge_flags(data, flags, spellings)
    fix = ""
    try:
        config = Config.model_validate(data, context={SUBJECTS: _names_of_subjects(data)})
    except ValidationError as error:
        details = error.errors()
        seen = dict.fromkeys([*problems, *(_describe(detail, typed) for detail in details)])
        problems = list(seen)
        fix = _where_to_move(details)
    if problems:
        raise UsageError(_headline(problems, path, typed), where=problems, fix=fix)
    return config


def _names_of_subjects(data: Mapping[str, Any]) -> list[str]:
    """Return the names of [[subjects]], before it is known whether the rest of them is right."""
    tables = data.get("subjects")
    names = [table.get("name") for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    return [name for name in names if isinstance(name, str)]


def _read_file(path: Path) -> dict[str, Any]:
    if path.suffix.lower() in (".yaml", ".yml"):
        fix = f"configurations of ai-toolkit are not read; {STARTER}"
        raise UsageError("the configuration must be TOML (or JSON), and this is YAML", where=[path], fix=fix)
    try:
        refuse_larger(path, MOST_CONFIG)
        raw = read_text(path, encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration: {error.strerror}",
            where=[path],
            fix=f"paths start at {Path.cwd()}; {STARTER}",
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


def _rename_keys(data: dict[str, Any]) -> list[str]:
    """Give dataset keys of musubi-tuner and its forks their name here; return a problem where a dataset has both."""
    problems = []
    for number, dataset in enumerate(_tables(data.get("datasets")), 1):
        for theirs, ours in _OTHER_NAMES.items():
            if theirs in dataset and ours in dataset:
                problems.append(f"[[datasets]] {number}: `{theirs}` and `{ours}` are the same setting, keep one")
            elif theirs in dataset:
                dataset[ours] = dataset.pop(theirs)
    return problems


@dataclass(frozen=True, slots=True)
class _Typed:
    """A flag and its value as they were typed."""

    flag: str
    raw: Any


_AllTyped = Mapping[tuple[str, str], _Typed]
"""Section and field -> what was typed."""


def _merge_flags(data: dict[str, Any], flags: Flags, spellings: Spellings) -> _AllTyped:
    """Write ``flags`` over ``data``; return what came from the command line."""
    typed: dict[tuple[str, str], _Typed] = {}
    mask_loss = data.get("mask_loss")
    if "mask_preset" in flags.get("mask_loss", {}) and isinstance(mask_loss, dict):
        data["mask_loss"] = {name: value for name, value in mask_loss.items() if name not in PRESET_FIELDS}
    for section, values in flags.items():
        for name, raw in values.items():
            value = _from_flag(raw, section_type(section).model_fields[name])
            flag = spellings.get((section, name), f"--{name}")
            typed[section, name] = _Typed(flag, raw)
            if section == "datasets":
                _set_in_only_dataset(data, name, value, flag=flag)
                continue
            table = data.setdefault(section, {})
            # What is no table is left for the validation to name.
            if isinstance(table, dict):
                table[name] = value
            if section == "general":
                for dataset in _tables(data.get("datasets")):
                    dataset.pop(name, None)
    return typed


def _set_in_only_dataset(data: dict[str, Any], name: str, value: Any, *, flag: str) -> None:
    datasets = data.setdefault("datasets", [{}])
    if not isinstance(datasets, list):
        return
    if len(datasets) != 1:
        raise UsageError(
            f"{flag} is for one dataset, and the configuration has {len(datasets)}",
            fix=f"write `{name}` into the [[datasets]] tables it belongs to",
        )
    for dataset in _tables(datasets):
        dataset[name] = value


def _tables(datasets: Any) -> list[dict[str, Any]]:
    """Return the tables in ``datasets``; what is no table, or no list, is left for the validation to name."""
    if not isinstance(datasets, list):
        return []
    return [dataset for dataset in datasets if isinstance(dataset, dict)]


def _from_flag(raw: Any, field: FieldInfo) -> Any:
    """Turn typed text into the field's type; text that does not fit stays text, and validation refuses it by name."""
    kind = item_type(field.annotation)
    if plain_type(field.annotation) is list:
        texts = raw if isinstance(raw, list) else [raw]
        if kind in (int, float):
            texts = [part for text in texts for part in text.replace(",", " ").replace("x", " ").split()]
        return [_number(text, kind) for text in texts]
    return _number(raw, kind)


def _number(raw: Any, kind: Any) -> Any:
    if kind not in (int, float) or not isinstance(raw, str):
        return raw
    try:
        return kind(raw)
    except ValueError:
        return raw


def _headline(problems: Sequence[str], path: Path | None, typed: _AllTyped) -> str:
    flags = {given.flag for given in typed.values()}
    are_of_flags = [problem.partition(" ")[0] in flags for problem in problems]
    places = [path.name] if path and not all(are_of_flags) else []
    if any(are_of_flags) or not places:
        places.append("the flags")
    return f"{counted(len(problems), 'problem')} in {' and '.join(places)}"


def _describe(detail: Any, typed: _AllTyped) -> str:
    """Return one validation error in a user's words."""
    loc: tuple[Any, ...] = detail["loc"]
    section = str(loc[0])
    if len(loc) == 1:
        return _describe_top_level(section, detail)
    is_list = section in _LISTS
    if is_list and len(loc) == 2:
        return f"[[{section}]] {loc[1] + 1}: {_sentence(detail)}"
    name = str(loc[2] if is_list else loc[1])
    place = f"[[{section}]] {loc[1] + 1}" if is_list else f"[{section}]"
    if detail["type"] == "missing":
        return f"{place}: `{name}` is missing"
    if detail["type"] == "extra_forbidden":
        return f"{place}: {_describe_unknown_key(name, section)}"
    field = section_type(section).model_fields[name]
    expected = _expected(field, detail)
    near = _nearest_choice(field, detail)
    given = typed.get((section, name))
    subject = f"{place}: `{name}`" if given is None else given.flag
    if detail["input"] == "":
        return f"{subject} must be {expected}, and is empty"
    if given is None and detail["type"] == "list_type" and isinstance(detail["input"], str | int | float):
        value = _shown(detail["input"])
        return f"{subject} must be {expected}, got {value}: write `{name} = [{value}]`"
    if given is None:
        return f"{subject} must be {expected}, got {_shown(detail['input'])}{near}"
    raw = " ".join(given.raw) if isinstance(given.raw, list) else given.raw
    # As it was typed, which is without quotes.
    shown = _shown(raw).strip('"')
    return f"{subject} must be {expected}, got {shown}{near}"


def _shown(value: Any) -> str:
    """Return a value as a configuration spells it, cut where it is long."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):
        # Python writes no number of more than 4,300 digits, and no table that is nested deeper than its stack.
        return "something too long to show"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _describe_top_level(section: str, detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        if owners := _owners(section):
            return f"`{section}` is a key of {owners}"
        near = difflib.get_close_matches(section, Config.model_fields, n=1)
        hint = f", did you mean {table_name(near[0])}?" if near else ""
        return f"unknown table or key `{section}`{hint}"
    if detail["type"] == "value_error":
        return f"[[{section}]]: {_sentence(detail)}"
    kind = f"a list of tables, `[[{section}]]`" if section in _LISTS else f"a table, `[{section}]`"
    return f"`{section}` must be {kind}"


def _describe_unknown_key(name: str, section: str) -> str:
    """Describe a key that ``section`` does not have: the table it belongs to, or the name it was probably meant as."""
    if owners := _owners(name):
        return f"`{name}` is a key of {owners}"
    if advice := advice_for(name):
        return f"unknown key `{name}`, an option of other trainers: {advice}"
    near = nearest(name, section_type(section).model_fields)
    if near:
        return f"unknown key `{name}`, did you mean `{near}`?"
    elsewhere = nearest(name, (field for other in Config.model_fields for field in section_type(other).model_fields))
    hint = f", did you mean `{elsewhere}` of {_owners(elsewhere)}?" if elsewhere else ""
    return f"unknown key `{name}`{hint}"


def _owners(name: str) -> str:
    """Return the tables that have a key of this name, for a sentence; "" when none has."""
    tables = [table_name(section) for section in Config.model_fields if name in section_type(section).model_fields]
    return " or ".join(tables)


def table_name(section: str) -> str:
    """Return how a section's table is written in the file, for messages."""
    return f"`[[{section}]]`" if section in _LISTS else f"`[{section}]`"


def _where_to_move(details: Sequence[Any]) -> str:
    """Return how to mend keys that stand in the wrong table; "" when none does."""
    unknown = [str(detail["loc"][-1]) for detail in details if detail["type"] == "extra_forbidden"]
    misplaced = [name for name in unknown if _owners(name)]
    if not misplaced:
        return ""
    if len(misplaced) == 1:
        return f"move `{misplaced[0]}` under {_owners(misplaced[0])}"
    return "move each key under the table that has it"


def _nearest_choice(field: FieldInfo, detail: Any) -> str:
    given = detail["input"]
    if not isinstance(given, str):
        return ""
    if item_type(field.annotation) is float and _DECIMAL_COMMA.fullmatch(given):
        near = [given.replace(",", ".")]
    else:
        near = difflib.get_close_matches(given, choices_of(field), n=1)
    return f", did you mean `{near[0]}`?" if near else ""


def _sentence(detail: Any) -> str:
    error = detail.get("ctx", {}).get("error")
    return str(error) if error is not None else str(detail["msg"])


_NOUNS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def _expected(field: FieldInfo, detail: Any) -> str:
    """Return what a field takes: its range when the number is out of it, else its type."""
    if detail["type"] == "value_error":
        return _sentence(detail).removeprefix("must be ")
    if detail["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return range_text(field)
    if detail["type"] == "finite_number":
        return f"{range_text(field)} and finite" if range_text(field) else "a finite number"
    if detail["type"] == "list_type":
        return _list_text(field)
    if choices_of(field):
        return f"one of {', '.join(choices_of(field))}"
    if plain_type(field.annotation) is not list:
        return _noun(field)
    if detail["type"] == "too_short":
        return f"a list of at least one {_noun(field).removeprefix('a ')}"
    return _list_text(field)


def _list_text(field: FieldInfo) -> str:
    """Return what a list field takes: ``a list of paths``."""
    if choices_of(field):
        return f"a list of any of {', '.join(choices_of(field))}"
    return f"a list of {_noun(field).removeprefix('a ')}s"


def _noun(field: FieldInfo) -> str:
    kind = item_type(field.annotation)
    return _NOUNS.get(kind, str(kind))
