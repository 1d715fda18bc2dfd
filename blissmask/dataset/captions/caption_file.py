"""Find and read captions.

A caption file holds what ``caption_style`` says:

    text     one caption, line breaks included; as musubi-tuner reads it
    lines    a caption in each line, as OneTrainer and sd-scripts' wildcards have it. They draw one at every step;
             embeddings are cached here, so each item has one, drawn by its name. In a list of captions, lines with an
             empty one between them are the paragraphs of one text
    json     an object with the caption under one of :data:`JSON_KEYS`, or with tags, or a list of tags
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from blissmask.config.sections.dataset_section import CaptionStyle
from blissmask.dataset.discover import list_files
from blissmask.dataset.item import DatasetItem, MediaFile
from blissmask.dataset.item_keys import stem_key
from blissmask.documents import DocumentError, parse_json, refuse_half_characters
from blissmask.errors import InputError
from blissmask.storage.limits import MOST_CAPTION, refuse_larger
from blissmask.storage.ordinary import read_text

HOW_TO_CAPTION = (
    "write them, an empty file for no caption; or give all of them one with "
    '`caption = "a photo of {trigger}"` and `trigger` under [general];\n'
    "or have a model write them: `blissmask cache --captions transformers --caption-model FOLDER`"
)
"""How to mend that captions are missing."""
DEFAULT_EXTENSION = ".txt"
"""Extension of captions where a data set names none."""
JSON_KEYS = ("caption", "prompt", "text", "description")
"""Keys under which programs keep a caption in JSON, in the order in which they are looked for."""
_TAGS = "tags"
_JSON = ".json"
_SUFFIXES = frozenset({".txt", ".caption", ".captions", ".cap", _JSON, ".tags", ".prompt", ".text"})
"""Ends of the names of files that hold captions in one program or another."""


def caption_path(media: Path, extension: str) -> Path:
    """Return the caption file beside a photo or video: same stem, with ``extension`` (dot included) as suffix."""
    return media.with_name(media.stem + extension)


def read_caption(path: Path) -> str:
    """Read a caption without the white space around it; an empty file is an empty caption.

    The file is UTF-8, with or without a byte order mark, of up to :data:`MOST_CAPTION` bytes.

    Raises:
        InputError: the file cannot be read, is too large or is not UTF-8.
    """
    try:
        refuse_larger(path, MOST_CAPTION)
        return read_text(path, encoding="utf-8-sig").strip()
    except OSError as error:
        raise InputError(f"the caption cannot be read: {error.strerror or error}", where=[path]) from error
    except UnicodeDecodeError as error:
        raise InputError("the caption is not UTF-8 text", where=[path], fix="save it as UTF-8") from error


def caption_of(item: DatasetItem, style: CaptionStyle) -> str:
    """Return the caption of an item: what its caption file, or the text in its list, holds; or the data set's own.

    In a list, text that is no JSON, or paragraphs, is a caption whatever ``style`` says, which may be meant for the
    files of other data sets.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or does not hold what ``style`` says.
    """
    if item.has_default_caption:
        return item.caption or ""
    text = item.caption or ""
    if item.caption_path is not None:
        text = read_caption(item.caption_path)
    match style:
        case "lines" if item.caption_path is not None or has_several_lines(text):
            return _drawn(_lines(text), seed=item.media.stem)
        case "json" if item.caption_path is not None or looks_like_json(text):
            return _from_json(text, item.caption_path or item.media.path, seed=item.media.stem)
        case _:
            return text


def has_several_lines(text: str) -> bool:
    """Return whether a caption may be several, one a line; paragraphs, with empty lines between them, are one text."""
    lines = text.strip().splitlines()
    return len(lines) > 1 and all(line.strip() for line in lines)


def looks_like_json(text: str) -> bool:
    """Return whether a caption is an object or a list of JSON."""
    if not text.startswith(("{", "[")):
        return False
    try:
        return isinstance(parse_json(text), (dict, list))
    except DocumentError:
        return False


def other_captions(missing: Iterable[tuple[MediaFile, Path]]) -> dict[Path, Path]:
    """Return the caption files of other names that lie where captions are missing, by the path of the media.

    So for ``a.png``: ``a.caption``, ``a.png.txt``, ``A.TXT``; and ``a.json`` where it holds a caption.

    Args:
        missing: photos and videos without a caption, each with the folder where it was looked for.

    Raises:
        InputError: a folder cannot be read.
    """
    by_folder: dict[Path, dict[str, Path]] = {}
    for media, folder in missing:
        by_folder.setdefault(folder, {}).update({media.key: media.path, stem_key(media.path.name): media.path})
    found: dict[Path, Path] = {}
    for folder, owners in by_folder.items():
        for path in list_files(folder, _SUFFIXES):
            owner = owners.get(stem_key(path.stem))
            if owner is not None and owner != path and owner not in found and _may_be_caption(path):
                found[owner] = path
    return found


def _may_be_caption(path: Path) -> bool:
    """Return whether a file may be meant as a caption; JSON without one, which Google Takeout writes, is not."""
    if path.suffix.lower() != _JSON:
        return True
    try:
        return bool(_from_json(read_caption(path), path, seed=path.stem))
    except InputError:
        # It cannot be read, or holds other facts; nothing is asked of files that nobody named.
        return False


def extension_advice(others: Mapping[Path, Path]) -> str:
    """Return how to have the captions of other names read, as :func:`other_captions` returns them; at least one."""
    extensions = Counter(filter(None, (extension_of(media, caption) for media, caption in others.items())))
    if not extensions:
        return "name caption files like their photos"
    (extension, _), *rarer = extensions.most_common()
    advice = f'set `caption_extension = "{extension}"`'
    if extension.lower().endswith(_JSON):
        advice += ' and `caption_style = "json"`'
    return f"{advice}, and rename the others" if rarer else advice


def extension_of(media: Path, caption: Path) -> str | None:
    """Return the ``caption_extension`` with which ``caption`` is the caption of ``media``; None where none is."""
    return caption.name.removeprefix(media.stem) if caption.name.startswith(media.stem) else None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _drawn(captions: Sequence[str], *, seed: str) -> str:
    """Return one of the captions, always the same for one ``seed``; empty where there are none."""
    if not captions:
        return ""
    return random.Random(seed.encode("utf-8", "surrogateescape")).choice(captions)


def _from_json(text: str, path: Path, *, seed: str) -> str:
    """Return the caption in a JSON text; an empty file is an empty caption."""
    if not text:
        return ""
    try:
        value = parse_json(text)
        refuse_half_characters(value)
    except DocumentError as error:
        fix = '`caption_style = "text"` reads it as it is written'
        raise InputError("the caption is not JSON, as `caption_style` says", where=[path], fix=fix) from error
    caption = _caption_in(value, seed)
    if caption is None:
        keys = ", ".join(f"`{key}`" for key in (*JSON_KEYS, _TAGS))
        raise InputError("the JSON holds no caption", where=[path], fix=f"these keys are read: {keys}")
    return caption


def _caption_in(value: Any, seed: str) -> str | None:
    """Return the caption in a JSON value: a text, a list of tags, or an object with either; None without one."""
    if not isinstance(value, Mapping):
        return _joined(value)
    for key in JSON_KEYS:
        found = value.get(key)
        if _is_texts(found):
            # Several captions under one key are versions of it.
            return _drawn([text.strip() for text in found], seed=seed)
        if isinstance(found, str):
            return found.strip()
    return _joined(value.get(_TAGS))


def _joined(value: Any) -> str | None:
    """Return a text, or a list of tags as one; None for anything else."""
    if _is_texts(value):
        return ", ".join(value)
    return value.strip() if isinstance(value, str) else None


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)
