"""A key or table that there is not: the table it belongs to, or the name it was probably meant as."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from blissmask.config.model import Config, section_type, table_name
from blissmask.config.other_trainers import advice_for, nearest


def unknown_key(name: str, section: str) -> str:
    """Describe a key that ``section`` does not have."""
    if tables := _tables_with(name):
        return f"`{name}` is a key of {tables}"
    if advice := advice_for(name):
        return f"unknown key `{name}`, an option of other trainers: {advice}"
    near = nearest(name, section_type(section).model_fields)
    if near:
        return f"unknown key `{name}`, did you mean `{near}`?"
    elsewhere = nearest(name, (field for other in Config.model_fields for field in section_type(other).model_fields))
    hint = f", did you mean `{elsewhere}` of {_tables_with(elsewhere)}?" if elsewhere else ""
    return f"unknown key `{name}`{hint}"


def unknown_table(name: str) -> str:
    """Describe a table, or a key outside of all tables, that there is not."""
    if tables := _tables_with(name):
        return f"`{name}` is a key of {tables}"
    near = difflib.get_close_matches(name, Config.model_fields, n=1)
    hint = f", did you mean {table_name(near[0])}?" if near else ""
    return f"unknown table or key `{name}`{hint}"


def _tables_with(name: str) -> str:
    """Return the tables that have a key of this name, for a sentence; "" when none has."""
    tables = [table_name(section) for section in Config.model_fields if name in section_type(section).model_fields]
    return " or ".join(tables)


def where_to_move(names: Sequence[str]) -> str:
    """Return how to mend keys that stand in the wrong table, if any of these unknown ones does; "" when none does."""
    misplaced = [name for name in names if _tables_with(name)]
    if not misplaced:
        return ""
    if len(misplaced) == 1:
        return f"move `{misplaced[0]}` under {_tables_with(misplaced[0])}"
    return "move each key under the table that has it"
