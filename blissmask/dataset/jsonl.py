"""Data sets listed in a JSONL file: one object per line, in musubi-tuner's spelling.

Pictures: ``image_path``, ``caption``, and ``control_path`` or ``control_path_0``, ``control_path_1`` ....
Videos: ``video_path``, ``caption``, ``control_path``. Besides: ``mask_path``, which AkaneTendo25's musubi-tuner calls ``loss_mask_path`` or
``video_loss_mask_path``. Relative paths start at the working folder, as there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from blissmask.dataset.item import DatasetItem, MediaFile, MediaKind
from blissmask.dataset.names import item_key
from blissmask.errors import InputError

_NUMBERED = re.compile(r"control_path_(\d+)")
_MASK = ("mask_path", "loss_mask_path", "video_loss_mask_path")


def read_jsonl(path: Path, kind: MediaKind) -> list[DatasetItem]:
    """Return the items of a JSONL file in its order; empty lines are skipped.

    Raises:
        InputError: the file cannot be read, or lines are no objects, lack keys or hold others; lists all of them.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read the list: {error.strerror or error}", where=[path]) from error
    except UnicodeDecodeError as error:
        raise InputError("the list is not UTF-8 text", where=[path], fix="save it as UTF-8") from error
    items, wrong = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            items.append(_item(_parse(line), kind))
        except ValueError as error:
            wrong.append(f"{path}:{number}: {error}")
    if wrong:
        raise InputError(
            f"{len(wrong)} lines of {path.name} cannot be used" if len(wrong) > 1 else f"a line of {path.name} cannot be used", where=wrong
        )
    if not items:
        raise InputError("the list is empty", where=[path])
    return items


def _parse(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(value, dict):
        raise ValueError("must be an object in braces")
    return value


def _item(line: dict[str, Any], kind: MediaKind) -> DatasetItem:
    main = f"{kind.value}_path"
    numbered = {name: match for name in line if (match := _NUMBERED.fullmatch(name))}
    unknown = sorted(name for name in line if name not in (main, "caption", "control_path", *_MASK) and name not in numbered)
    if unknown:
        raise ValueError(f"unknown keys {', '.join(f'`{name}`' for name in unknown)}")
    for name in (main, "caption"):
        if name not in line:
            raise ValueError(f"`{name}` is missing")
    for name, value in line.items():
        if not isinstance(value, str):
            raise ValueError(f"`{name}` must be text")
        value.encode()  # a lone surrogate, which JSON can spell, is no text
    media = Path(line[main])
    return DatasetItem(
        media=MediaFile(item_key(media.name), media.stem, media, kind),
        caption=line["caption"].strip(),
        mask_path=next((Path(line[name]) for name in _MASK if name in line), None),
        control_paths=_control_paths(line, numbered),
    )


def _control_paths(line: dict[str, Any], numbered: dict[str, re.Match[str]]) -> tuple[Path, ...]:
    """Return ``control_path`` and then ``control_path_0``, ``control_path_1`` ... in the order of their numbers."""
    plain = [Path(line["control_path"])] if "control_path" in line else []
    ordered = sorted((int(match[1]), key) for key, match in numbered.items())
    return (*plain, *(Path(line[key]) for _, key in ordered))
