"""Words in captions: those for placeholders such as ``{trigger}``, and class words in the place of triggers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from blissmask.config.sections.dataset_section import PLACEHOLDER, PLACEHOLDERS, DatasetSection, GeneralSection
from blissmask.dataset.item import DatasetItem
from blissmask.errors import UsageError

_EXAMPLES = {"trigger": "ohwx", "class_word": "woman"}
"""A word for each placeholder, to show how one is written."""
_NAME = re.compile(r"\w+")
"""A name in braces that is meant as one: JSON and ``{a|b}``, a choice in other programs, are not."""
_LETTER = r"[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""What belongs to the word beside it. Thai, kana, Han and Hangul do not: they follow a name without a space."""


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


def _as_words(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?<!{_LETTER})(?:{pattern})(?!{_LETTER})", re.IGNORECASE)


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
