"""Remarks about captions.

They are longer than the text encoder reads, JSON, several in one file, without the trigger, or say what the trigger
should stand for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from blissmask.dataset.captions.caption_file import has_several_lines, looks_like_json
from blissmask.dataset.captions.caption_words import holds_trigger, listed_names, unknown_names, words_for
from blissmask.families.encoders.captions import CaptionReader
from blissmask.tasks.cache.cached_dataset import Model
from blissmask.tasks.cache.planned_entries import TextEntry
from blissmask.tasks.remarks.remark import Kind, Remark

_SURELY_READ = 250
"""Bytes of UTF-8. A token is a byte at least, and no family reads fewer than 256 tokens of a caption."""

_SHOWN = 40
"""Characters of lost words that are shown, from either end."""

CUT = Kind(
    "caption", "longer than the text encoder reads: the end is lost", "put what matters in front, or shorten the text"
)
JSON = Kind(
    "caption",
    "in JSON, which is encoded with its braces and quotes",
    'set `caption_style = "json"` to read the caption in it, or `caption_style = "text"` to keep it as it is',
)
LINES = Kind(
    "caption",
    "of several lines, read as one text",
    'set `caption_style = "lines"` where each line is a caption of its own, or `caption_style = "text"` where not',
)

UNTRIGGERED = Kind(
    "caption",
    "without the trigger: the subject's looks are tied to whatever words stand there",
    "write `{trigger}` where the subject is named",
)
TOLD = Kind(
    "caption",
    "with looks that the trigger should stand for: words take them from it",
    "leave out what is always so of the subject, and say what changes from photo to photo: clothes, place, light",
)
UNKNOWN = Kind(
    "caption",
    "with a name in braces that stands for nothing: it is encoded as it is",
    "correct the name, or leave the braces out",
)
_LOOKS = re.compile(
    r"\b(?:(?:blonde?|brown|brunette|black|dark|light|fair|red|ginger|auburn|gr[ea]y|white|blue|green|hazel"
    r"|pale|tanned|freckled|long|short|shoulder[- ]length|curly|straight|wavy)[- ](?:hair(?:ed)?|eye[sd]|skin(?:ned)?)"
    r"|freckles|beard(?:ed)?|mou?stache|dimples|wrinkles)\b",
    re.IGNORECASE,
)
"""What stays the same of a person from photo to photo, in the words of captions; clothes and glasses may change."""


def caption_remarks(
    texts: Sequence[TextEntry], model: Model, absent: Collection[tuple[int, Path]] = ()
) -> Iterator[Remark]:
    """Yield remarks about captions; the tokens are counted of those that are encoded now, where the model is here.

    Args:
        texts: the captions.
        model: whose encoder reads them.
        absent: number of the data set, photo or video: of items that show none of its subjects, and need no trigger.
    """
    for text in texts:
        yield from _style_remarks(text)
        yield from _name_remarks(text)
        if (text.dataset.number, text.item.media.path) not in absent:
            yield from _trigger_remarks(text)
    long = [text for text in texts if text.reason and len(text.caption.encode("utf-8", "replace")) > _SURELY_READ]
    if not long or model.missing:
        return
    reader = model.family.load_caption_reader(model.files)
    if reader is not None:
        for text in long:
            yield from _length_remarks(text, reader)


def _style_remarks(text: TextEntry) -> Iterator[Remark]:
    item, media = text.item, text.item.media.path
    place = str(item.caption_path or media)
    if text.dataset.section.caption_style is not None:
        return
    if looks_like_json(text.caption):
        yield Remark(JSON, media, place, "caption in JSON")
    elif item.caption_path is not None and has_several_lines(text.caption):
        yield Remark(LINES, media, place, "caption of several lines")


def _name_remarks(text: TextEntry) -> Iterator[Remark]:
    """Yield a remark about names in braces that nobody has; those that somebody has are filled in."""
    words = words_for(text.dataset.section)
    if unknown := unknown_names(text.caption, words):
        media = text.item.media.path
        place = f"{text.item.caption_path or media}: {{{unknown[0]}}}; there are {listed_names(words)}"
        yield Remark(UNKNOWN, media, place, f"{{{unknown[0]}}} in the caption stands for nothing")


def _trigger_remarks(text: TextEntry) -> Iterator[Remark]:
    """Yield remarks about the words of a caption, where triggers say that subjects are trained."""
    triggers, media = text.dataset.section.own_triggers, text.item.media.path
    if not triggers or not text.caption or text.dataset.section.prior:
        return
    place = str(text.item.caption_path or media)
    if not any(holds_trigger(text.caption, trigger) for trigger in triggers):
        yield Remark(UNTRIGGERED, media, place, "caption without the trigger")
    if told := _LOOKS.search(text.caption):
        yield Remark(TOLD, media, f"{place}: `{told[0]}`", f"caption says `{told[0]}`")


def _length_remarks(text: TextEntry, reader: CaptionReader) -> Iterator[Remark]:
    overlong = reader.overlong(text.caption)
    if overlong is None:
        return
    media = text.item.media.path
    lost = _ends_of(overlong.lost)
    place = f"{text.item.caption_path or media}: {reader.most} of {overlong.tokens} tokens are read, lost is `{lost}`"
    yield Remark(CUT, media, place, f"caption cut after {reader.most} tokens")


def _ends_of(lost: str) -> str:
    """Return lost words on one line; of many, the beginning and the last word."""
    line = " ".join(lost.split())
    if len(line) <= 2 * _SHOWN:
        return line
    return f"{line[:_SHOWN]} ... {line.rpartition(' ')[2][-_SHOWN:]}"
