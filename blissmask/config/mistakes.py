"""What is wrong in a configuration, in a user's words: one line for each error of the validation."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from blissmask.config.fields.accepted import choices_of, item_type, plain_type, range_text
from blissmask.config.flags import AllTyped
from blissmask.config.model import LISTS, section_type
from blissmask.config.unknown_keys import unknown_key, unknown_table
from blissmask.plurals import counted

_MOST_SHOWN = 200
"""Characters of a value that messages show."""

_DECIMAL_COMMA = re.compile(r"-?\d+,\d+(?:e-?\d+)?")
"""A number as it is written in much of Europe."""

_NOUNS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def headline(problems: Sequence[str], path: Path | None, typed: AllTyped) -> str:
    """Return how many mistakes there are, and in which of file and flags."""
    flags = {given.flag for given in typed.values()}
    are_of_flags = [problem.partition(" ")[0] in flags for problem in problems]
    places = [path.name] if path and not all(are_of_flags) else []
    if any(are_of_flags) or not places:
        places.append("the flags")
    return f"{counted(len(problems), 'problem')} in {' and '.join(places)}"


def describe(detail: Any, typed: AllTyped) -> str:
    """Return one validation error in a user's words."""
    loc: tuple[Any, ...] = detail["loc"]
    section = str(loc[0])
    if len(loc) == 1:
        return _describe_top_level(section, detail)
    is_list = section in LISTS
    if is_list and len(loc) == 2:
        return f"[[{section}]] {loc[1] + 1}: {_sentence(detail)}"
    name = str(loc[2] if is_list else loc[1])
    place = f"[[{section}]] {loc[1] + 1}" if is_list else f"[{section}]"
    if detail["type"] == "missing":
        return f"{place}: `{name}` is missing"
    if detail["type"] == "extra_forbidden":
        return f"{place}: {unknown_key(name, section)}"
    given = typed.get((section, name))
    field = section_type(section).model_fields[name]
    subject = f"{place}: `{name}`" if given is None else given.flag
    wrong = f"{subject} must be {_expected(field, detail)}"
    if detail["input"] == "":
        return f"{wrong}, and is empty"
    if given is not None:
        return f"{wrong}, got {_as_typed(given.raw)}{_nearest_choice(field, detail)}"
    value = _shown(detail["input"])
    if detail["type"] == "list_type" and isinstance(detail["input"], str | int | float):
        return f"{wrong}, got {value}: write `{name} = [{value}]`"
    return f"{wrong}, got {value}{_nearest_choice(field, detail)}"


def _as_typed(raw: Any) -> str:
    text = " ".join(raw) if isinstance(raw, list) else raw
    # The command line has no quotes around it.
    return _shown(text).strip('"')


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
        return unknown_table(section)
    if detail["type"] == "value_error":
        return f"[[{section}]]: {_sentence(detail)}"
    kind = f"a list of tables, `[[{section}]]`" if section in LISTS else f"a table, `[{section}]`"
    return f"`{section}` must be {kind}"


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
