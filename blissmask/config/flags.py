"""What was typed on the command line, and how it goes over what the file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from blissmask.config.config_file import dataset_tables
from blissmask.config.fields.accepted import item_type, plain_type
from blissmask.config.model import section_type
from blissmask.config.sections.mask_loss_section import PRESET_FIELDS
from blissmask.errors import UsageError

Flags = Mapping[str, Mapping[str, Any]]
"""Section name -> field name -> what was typed: text, a list of texts, or a bool.

Dataset fields stand under ``datasets``.
"""

Spellings = Mapping[tuple[str, str], str]
"""Section and field -> the flag as it was typed: ``--mask_gamma``, ``-i``."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A flag and its value as they were typed."""

    flag: str
    raw: Any


AllTyped = Mapping[tuple[str, str], Typed]
"""Section and field -> what was typed."""


def merge_flags(data: dict[str, Any], flags: Flags, spellings: Spellings) -> AllTyped:
    """Write ``flags`` over ``data``; return what came from the command line."""
    typed: dict[tuple[str, str], Typed] = {}
    mask_loss = data.get("mask_loss")
    if "mask_preset" in flags.get("mask_loss", {}) and isinstance(mask_loss, dict):
        data["mask_loss"] = {name: value for name, value in mask_loss.items() if name not in PRESET_FIELDS}
    for section, values in flags.items():
        for name, raw in values.items():
            value = _from_flag(raw, section_type(section).model_fields[name])
            flag = spellings.get((section, name), f"--{name}")
            typed[section, name] = Typed(flag, raw)
            if section == "datasets":
                _set_in_only_dataset(data, name, value, flag=flag)
                continue
            table = data.setdefault(section, {})
            # What is no table is left for the validation to name.
            if isinstance(table, dict):
                table[name] = value
            if section == "general":
                for dataset in dataset_tables(data):
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
    for dataset in dataset_tables(data):
        dataset[name] = value


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
