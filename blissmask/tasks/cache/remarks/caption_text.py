"""Remarks about captions: longer than the text encoder reads, JSON, or several in one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blissmask.dataset.captions import has_several_lines, looks_like_json
from blissmask.families.encoders.captions import CaptionReader
from blissmask.tasks.cache.cached_dataset import Model
from blissmask.tasks.cache.planned_entries import TextEntry
from blissmask.tasks.cache.remarks.remark import Kind, Remark

_SURELY_READ = 250
"""Bytes of UTF-8. A token is a byte at least, and no family reads fewer than 256 tokens of a caption."""

_SHOWN = 40
"""Characters of lost words that are shown, from either end."""

CUT = Kind(
    "caption", "longer than the text encoder reads: the end is lost", "shorten them, or put what matters in front"
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


def caption_remarks(texts: Sequence[TextEntry], model: Model) -> Iterator[Remark]:
    """Yield remarks about captions; the tokens are counted of those that are encoded now, where the model is here."""
    for text in texts:
        yield from _style_remarks(text)
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
