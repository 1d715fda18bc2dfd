"""Read data sets that are listed in a JSONL file: one object per line, with musubi-tuner's keys.

    pictures   ``image_path``, ``caption``, and ``control_path`` or ``control_path_0``, ``control_path_1`` ...
    videos     ``video_path``, ``caption``, ``control_path``
    both       ``mask_path``; AkaneTendo25's musubi-tuner calls it ``loss_mask_path`` or ``video_loss_mask_path``

As in musubi-tuner, relative paths start at the working folder; what is not there is looked for beside the list, where
the mask fork has it. Other keys are not used, and are warned of.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blissmask.dataset.item import DatasetItem, MediaFile, MediaKind
from blissmask.documents import DocumentError, parse_json
from blissmask.errors import InputError, Problem
from blissmask.storage.limits import MOST_LINE
from blissmask.storage.near_miss import near_miss
from blissmask.storage.ordinary import open_text
from blissmask.storage.short_path import ShortPath

_MOST_SHOWN = 200
"""Characters of a path that are shown of one that the system finds too long."""
_NUMBERED = re.compile(r"control_path_(\d+)")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON can spell one as an escape; no encoding of text can hold it."""
_MASK = ("mask_path", "loss_mask_path", "video_loss_mask_path")


def read_jsonl(path: Path, kind: MediaKind) -> tuple[list[DatasetItem], list[Problem]]:
    """Return the items of a JSONL file in its order, and a warning of keys that are not used; skip empty lines.

    Raises:
        InputError: the file cannot be read, or lines are no objects or lack keys; the error lists all such lines.
    """
    items, wrong = [], []
    unused: dict[str, list[int]] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = _parse(line)
            items.append(_item(value, kind, path.parent))
        except ValueError as error:
            wrong.append(f"{path}:{number}: {error}")
            continue
        except OSError as error:
            wrong.append(f"{path}:{number}: {str(error.filename)[:_MOST_SHOWN]}: {error.strerror or error}")
            continue
        for name in _unknown(value, kind):
            unused.setdefault(name, []).append(number)
    if wrong:
        lines = "a line" if len(wrong) == 1 else f"{len(wrong)} lines"
        raise InputError(f"{lines} of {path.name} cannot be used", where=wrong)
    if not items:
        raise InputError("the list is empty", where=[path])
    return items, _unused_warning(path, unused, kind)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines one by one, so that a long list takes no memory of its own.

    Raises:
        InputError: the file cannot be read or is no text, or a line is longer than :data:`MOST_LINE`; names it.
    """
    number = 0
    try:
        # Not `splitlines`: it also splits at characters that captions may hold, such as U+2028.
        with open_text(path, encoding="utf-8-sig") as file:
            while line := file.readline(MOST_LINE + 1):
                number += 1
                if len(line) > MOST_LINE:
                    what = f"the line is longer than the {MOST_LINE} characters that are read"
                    raise InputError(what, where=[f"{path}:{number}"], fix="write one item a line")
                yield line
    except OSError as error:
        what = f"cannot read the list: {error.strerror or error}"
        raise InputError(what, where=[path], fix=near_miss(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("the list is not UTF-8 text", where=[path], fix="save it as UTF-8") from error


def _parse(line: str) -> dict[str, Any]:
    try:
        value = parse_json(line)
    except DocumentError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("must be an object in braces")
    return value


def _item(line: dict[str, Any], kind: MediaKind, folder: Path) -> DatasetItem:
    """Return the item of a line.

    Args:
        line: its object.
        kind: picture or video.
        folder: where the list lies.

    Raises:
        ValueError: a key is missing, or its value is no text.
    """
    main = _main(kind)
    unknown = _unknown(line, kind)
    for name in (main, "caption"):
        if name not in line:
            near = difflib.get_close_matches(name, unknown, n=1)
            raise ValueError(f"`{name}` is missing" + (f", is it meant by `{near[0]}`?" if near else ""))
    for name, value in line.items():
        if isinstance(value, str) and (half := _LONE_SURROGATE.search(value)):
            raise ValueError(f"`{name}` holds half of a character, `\\u{ord(half[0]):x}`")
        if name not in unknown:
            _refuse_value(name, value)
    return DatasetItem(
        media=_media(_found(line[main], folder), kind),
        caption=line["caption"].strip(),
        mask=next((ShortPath.of(_found(line[name], folder)) for name in _MASK if name in line), None),
        controls=_controls(line, folder),
    )


def _refuse_value(name: str, value: object) -> None:
    """Raise ValueError where a value is no text, or a path that no file can have."""
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must be text")
    if name == "caption":
        return
    if not value.strip():
        raise ValueError(f"`{name}` is empty")
    if "\0" in value:
        raise ValueError(f"`{name}` must be a path, and no path holds a null character")


def _found(name: str, folder: Path) -> Path:
    """Return a path of the list: as it is written, or beside the list where only that is there."""
    path, beside = Path(name), folder / name
    return beside if not path.exists() and beside.exists() else path


def _media(path: Path, kind: MediaKind) -> MediaFile:
    """Return the photo or video; a dot in the name of a folder of frames does not begin a suffix."""
    is_folder = kind is MediaKind.VIDEO and path.is_dir()
    return MediaFile.of(path, kind, has_suffix=not is_folder)


def _controls(line: dict[str, Any], folder: Path) -> tuple[ShortPath, ...]:
    """Return ``control_path`` and then ``control_path_0``, ``control_path_1`` ... in the order of their numbers."""
    numbered = []
    for name in line:
        match = _NUMBERED.fullmatch(name)
        if match:
            numbered.append((int(match[1]), name))
    names = [name for _, name in sorted(numbered)]
    if "control_path" in line:
        names.insert(0, "control_path")
    return tuple(ShortPath.of(_found(line[name], folder)) for name in names)


def _main(kind: MediaKind) -> str:
    """Return the key of the photo or video."""
    return f"{kind.value}_path"


def _known(kind: MediaKind) -> tuple[str, ...]:
    return (_main(kind), "caption", "control_path", *_MASK)


def _unknown(line: dict[str, Any], kind: MediaKind) -> list[str]:
    return [name for name in line if name not in _known(kind) and not _NUMBERED.fullmatch(name)]


def _unused_warning(path: Path, unused: dict[str, list[int]], kind: MediaKind) -> list[Problem]:
    """Warn of keys that are not used: where they are, and which known key each may be a misspelling of."""
    if not unused:
        return []
    where = []
    for name, numbers in unused.items():
        near = difflib.get_close_matches(name, _known(kind), n=1)
        place = f"line {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} lines"
        where.append(f"`{name}`, {place}" + (f": did you mean `{near[0]}`?" if near else ""))
    keys = f"a key of {path.name} is" if len(unused) == 1 else f"{len(unused)} keys of {path.name} are"
    known = ", ".join(f"`{name}`" for name in _known(kind))
    return [Problem(f"{keys} not used", tuple(where), f"these are: {known}")]
