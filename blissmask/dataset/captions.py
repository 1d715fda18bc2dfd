"""Find and read captions, and put their tags in other orders, as sd-scripts does.

A caption file holds what ``caption_style`` says:

    text     one caption, line breaks included; as musubi-tuner reads it
    lines    a caption in each line, as OneTrainer and sd-scripts' wildcards have it. They draw one at every step;
             embeddings are cached here, so each item has one, drawn by its name
    json     an object with the caption under one of :data:`JSON_KEYS`, or with tags, or a list of tags
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from blissmask.config.dataset_section import PLACEHOLDER, PLACEHOLDERS, CaptionStyle, DatasetSection, GeneralSection
from blissmask.dataset.discover import list_files
from blissmask.dataset.item import DatasetItem, MediaFile
from blissmask.dataset.item_keys import stem_key
from blissmask.documents import DocumentError, parse_json, refuse_half_characters
from blissmask.errors import InputError, UsageError
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

_EXAMPLES = {"trigger": "ohwx", "class_word": "woman"}
"""A word for each placeholder, to show how one is written."""
_TAGS = "tags"
_SUFFIXES = frozenset({".txt", ".caption", ".captions", ".cap", ".json", ".tags", ".prompt", ".text"})
"""Ends of the names of files that hold captions in one program or another."""
_NAME = re.compile(r"\w+")
"""A name in braces that is meant as one: JSON and ``{a|b}``, a choice in other programs, are not."""
_LETTER = r"[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""What belongs to the word beside it. Thai, kana, Han and Hangul do not: they follow a name without a space."""


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
    """Return the caption of an item: the text of its list, or what its caption file holds.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or does not hold what ``style`` says.
    """
    if item.caption_path is None:
        return item.caption or ""
    text = read_caption(item.caption_path)
    match style:
        case "lines":
            return _drawn(_lines(text), seed=item.media.stem)
        case "json":
            return _from_json(text, item.caption_path, seed=item.media.stem)
        case "text":
            return text


def words_for(section: GeneralSection) -> dict[str, str | None]:
    """Return placeholder -> the word that a data set has for it; None or empty for none.

    Each of [[subjects]] is one, too: its name stands for its trigger, so that a caption can name who else is there.
    """
    return {**section.triggers, **{name: getattr(section, name) for name in sorted(PLACEHOLDERS)}}


def fill_in(text: str, words: Mapping[str, str | None]) -> str:
    """Return a caption with the words for its placeholders, e.g. ``{trigger}``; other braces stay as they are."""

    def word(match: re.Match[str]) -> str:
        found = words.get(match[1])
        return match[0] if found is None else found

    return PLACEHOLDER.sub(word, text)


def blanks(text: str, words: Mapping[str, str | None]) -> list[str]:
    """Return the names in ``words`` that stand in a caption in braces and have no word."""
    return [name for name in dict.fromkeys(PLACEHOLDER.findall(text)) if name in words and not words[name]]


def how_to_fill(name: str) -> str:
    """Return how to give a placeholder its word."""
    if name not in _EXAMPLES:
        return f"set `trigger` of `{name}` in [[subjects]]"
    return f'set `{name}` under [general], e.g. `{name} = "{_EXAMPLES[name]}"`'


def unknown_names(text: str, words: Mapping[str, str | None]) -> list[str]:
    """Return the single words that stand in a caption or a prompt in braces and are none of ``words``."""
    return [name for name in dict.fromkeys(PLACEHOLDER.findall(text)) if name not in words and _NAME.fullmatch(name)]


def listed_names(words: Mapping[str, str | None]) -> str:
    """Return what may stand in braces, as text."""
    return ", ".join(f"{{{name}}}" for name in words)


def class_words(section: DatasetSection, number: int) -> dict[str, str]:
    """Return the trigger of each subject of a data set -> the word that stands in its place where it is not meant.

    Raises:
        UsageError: one of them is not given.
    """
    if section.several:
        return {section.triggers[name]: _class_word_of(name, section, number) for name in section.several}
    if section.trigger and section.class_word:
        return {section.trigger: section.class_word}
    missing = "trigger" if not section.trigger else "class_word"
    raise UsageError(
        f"`trigger_free_weight` needs a `{missing}` for dataset {number}",
        fix='set `trigger = "ohwx"` and `class_word = "woman"` under [general], or leave `trigger_free_weight` out',
    )


def _class_word_of(name: str, section: DatasetSection, number: int) -> str:
    word = section.class_words.get(name) or section.class_word
    if word:
        return word
    raise UsageError(
        f"`trigger_free_weight` needs a `class_word` of `{name}` for dataset {number}",
        fix=f'set `class_word = "woman"` of `{name}` in [[subjects]], or leave `trigger_free_weight` out',
    )


def holds_trigger(text: str, trigger: str) -> bool:
    """Return whether a caption or a prompt names the subject: the trigger as a whole word, in capitals or not."""
    return _as_words(re.escape(trigger)).search(text) is not None


def _as_words(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?<!{_LETTER})(?:{pattern})(?!{_LETTER})", re.IGNORECASE)


def without_trigger(caption: str, words: Mapping[str, str]) -> str | None:
    """Return a caption with class words instead of triggers; None where it holds no trigger.

    "ohwx woman" becomes "woman": people write the class beside the trigger.

    Args:
        caption: with the triggers in place.
        words: trigger -> class word.
    """
    held = [trigger for trigger in words if holds_trigger(caption, trigger)]
    for trigger in held:
        caption = _with_class_word(caption, trigger, words[trigger])
    return caption if held else None


def _with_class_word(caption: str, trigger: str, class_word: str) -> str:
    beside = _as_words(rf"{re.escape(trigger)}\s+{re.escape(class_word)}")
    caption = beside.sub(lambda _: class_word, caption)
    return _as_words(re.escape(trigger)).sub(lambda _: class_word, caption)


def zoom_template(section: DatasetSection, kind: str) -> str:
    """Return what captions of zooms are made from, ``kind`` as in ``zoom``."""
    return section.zoom_face_caption if kind == "face" else section.zoom_subject_caption


def zoom_caption(item: DatasetItem, caption: str, section: DatasetSection) -> str:
    """Return what a zoom's template makes of the caption of its photo; the caption itself for what is no zoom."""
    if not item.zoom:
        return caption
    words = {**words_for(section), "caption": caption}
    # An empty caption leaves the comma before it.
    return fill_in(zoom_template(section, item.zoom), words).strip(" ,")


def has_several_lines(text: str) -> bool:
    """Return whether a caption file may hold several captions, one a line; paragraphs are one text."""
    return len(_lines(text)) > 1 and "\n\n" not in text


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

    So for ``a.png``: ``a.caption``, ``a.png.txt``, ``A.TXT``.

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
            if owner is not None and owner != path:
                found.setdefault(owner, path)
    return found


def extension_advice(others: Mapping[Path, Path]) -> str:
    """Return how to have the captions of other names read, as :func:`other_captions` returns them; at least one."""
    extensions = Counter(filter(None, (extension_of(media, caption) for media, caption in others.items())))
    if not extensions:
        return "name caption files like their photos"
    (extension, _), *more = extensions.most_common()
    return f'set `caption_extension = "{extension}"`' + (", and rename the others" if more else "")


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


def other_orders(section: GeneralSection) -> range:
    """Return the numbers of the orders in which a data set's captions are cached besides the written one, from 1.

    A caption whose tags have fewer orders has fewer.
    """
    return range(1, section.caption_orders or 1) if section.shuffle_caption else range(0)


def orders_of(caption: str, section: DatasetSection, *, zoom: str = "") -> range:
    """Return the numbers of the orders in which a caption is cached besides the written one: as many as it has.

    Args:
        caption: of the photo or video; of a zoom that of its photo.
        section: the data set.
        zoom: of which kind a zoom is, empty for none; its template holds the caption, or has no place for it.
    """
    most = 1 + len(other_orders(section))
    if zoom and "caption" not in PLACEHOLDER.findall(zoom_template(section, zoom)):
        most = 1
    return range(1, order_count(caption, keep_tokens=section.keep_tokens, most=most))


def tag_orders(caption: str, *, keep_tokens: int, count: int, seed: str) -> list[str]:
    """Return a caption as it is written, and with its comma-separated tags in other orders.

    sd-scripts draws a new order at every step. Embeddings are cached here, so each item has up to ``count`` orders, and
    a step draws one of them. No two are the same, and more orders begin with the same.

    Args:
        caption: tags separated by commas; those that are empty stay in the written order alone.
        keep_tokens: number of tags at the front that stay where they are.
        count: number of orders, >= 1; fewer where the tags have no more.
        seed: any text that names the item: other items have other orders, and a second run has the same ones.
    """
    kept, rest = _kept_and_shuffled(caption, keep_tokens)
    drawing = random.Random(seed.encode("utf-8", "surrogateescape"))
    orders = [caption]
    seen = {tuple(rest)}
    for _ in range(1, order_count(caption, keep_tokens=keep_tokens, most=count)):
        while tuple(rest) in seen:
            drawing.shuffle(rest)
        seen.add(tuple(rest))
        orders.append(", ".join([*kept, *rest]))
    return orders


def order_count(caption: str, *, keep_tokens: int, most: int) -> int:
    """Return in how many different orders the tags of a caption can stand, up to ``most``, the written one included."""
    _, shuffled = _kept_and_shuffled(caption, keep_tokens)
    # A product of binomials, each of which is the ways to put a tag among those before it; it never falls.
    count, placed = 1, 0
    for repeated in Counter(shuffled).values():
        for number in range(1, repeated + 1):
            placed += 1
            count = count * placed // number
        if count >= most:
            return most
    return count


def _kept_and_shuffled(caption: str, keep_tokens: int) -> tuple[list[str], list[str]]:
    tags = [tag.strip() for tag in caption.split(",") if tag.strip()]
    return tags[:keep_tokens], tags[keep_tokens:]
