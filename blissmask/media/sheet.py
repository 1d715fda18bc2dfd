"""A page of a contact sheet, drawn: a card per item.

A card shows any number of pictures side by side (photo, overlay, latent grid, weights after gamma and floor ...), the
file's name and a line of numbers. 3 = RGB; sizes are (width, height) in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blissmask.media.overlay import Colour, colour_weights
from blissmask.media.png import read_note

SHEET = "sheet"
"""What the note of a page says in place of a command."""

BOX = 208
"""Pictures are fitted into a square of this side."""

_CARDS_ACROSS, _ROWS = 3, 7
CARDS_PER_PAGE = _CARDS_ACROSS * _ROWS
_GAP, _PADDING, _MARGIN = 4, 10, 20
_HEADER, _TEXT = 84, 50
_PAPER, _CARD, _INK, _FAINT, _ALARM = (246, 246, 244), (255, 255, 255), (32, 32, 32), (105, 105, 105), (176, 58, 0)


@dataclass(frozen=True, slots=True)
class Card:
    """One item of a contact sheet.

    Attributes:
        name: the file's name.
        pictures: RGB pictures that fit into :data:`BOX`, one per column.
        numbers: a line such as "face 12% body 30%".
        remarks: what is wrong with the item, worst first; empty when nothing is.
        badness: sorts the sheet, higher first; 0 when nothing is wrong.
    """

    name: str
    pictures: tuple[NDArray[np.uint8], ...]
    numbers: str
    remarks: tuple[str, ...] = ()
    badness: float = 0.0


@dataclass(frozen=True, slots=True)
class SheetText:
    """What stands at the top of every page.

    Attributes:
        title: e.g. "Weighted masks, 412 items".
        columns: what each picture of a card is.
        legend: colour and meaning.
        scale: whether a scale of the weight colours is shown.
    """

    title: str
    columns: tuple[str, ...]
    legend: tuple[tuple[str, Colour], ...] = ()
    scale: bool = True


def is_sheet(path: Path) -> bool:
    """Say whether a file is a page of a contact sheet of ours."""
    note = read_note(path) if path.is_file() else None
    return note is not None and note.content.get("command") == SHEET


def draw_page(cards: Sequence[Card], text: SheetText, *, page: int = 1, pages: int = 1) -> NDArray[np.uint8]:
    """Draw one page as RGB; it is as high as its rows need."""
    card_wh = _card_size(len(text.columns))
    # The header needs room for its legend, however few the cards.
    across = max(min(_CARDS_ACROSS, len(cards)), 1 if card_wh[0] > 600 else 2)
    rows = -(-len(cards) // across)
    width = 2 * _MARGIN + across * card_wh[0] + (across - 1) * _PADDING
    height = _HEADER + rows * (card_wh[1] + _PADDING) + _MARGIN
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    _draw_header(draw, canvas, text, page, pages)
    for number, card in enumerate(cards):
        row, column = divmod(number, across)
        corner = (_MARGIN + column * (card_wh[0] + _PADDING), _HEADER + row * (card_wh[1] + _PADDING))
        _draw_card(draw, canvas, card, corner, card_wh)
    return np.array(canvas)


def _draw_header(draw: ImageDraw.ImageDraw, canvas: Image.Image, text: SheetText, page: int, pages: int) -> None:
    title = text.title if pages == 1 else f"{text.title}, page {page} of {pages}"
    title = _shorten(title, canvas.width - 2 * _MARGIN, 22)
    draw.text((_MARGIN, 14), title, _INK, _font(22))
    used = _MARGIN + _font(22).getlength(title) + 18
    columns = _shorten(" | ".join(text.columns), canvas.width - _MARGIN - used, 14)
    draw.text((canvas.width - _MARGIN - _font(14).getlength(columns), 21), columns, _FAINT, _font(14))
    x = float(_MARGIN)
    for name, colour in text.legend:
        draw.rectangle((x, 52, x + 15, 67), fill=colour, outline=_FAINT)
        draw.text((x + 22, 51), name, _INK, _font(14))
        x += 22 + _font(14).getlength(name) + 18
    if text.scale:
        ramp = colour_weights(np.linspace(0, 1, 120, dtype=np.float32)[None, :], (120, 15))
        draw.text((x, 51), "weight 0", _INK, _font(14))
        x += _font(14).getlength("weight 0") + 6
        canvas.paste(Image.fromarray(ramp), (round(x), 52))
        draw.text((x + 126, 51), "1", _INK, _font(14))


def _draw_card(
    draw: ImageDraw.ImageDraw, canvas: Image.Image, card: Card, corner: tuple[int, int], card_wh: tuple[int, int]
) -> None:
    left, top = corner
    edge = _ALARM if card.remarks else (214, 214, 210)
    box = (left, top, left + card_wh[0] - 1, top + card_wh[1] - 1)
    draw.rectangle(box, fill=_CARD, outline=edge, width=2 if card.remarks else 1)
    row_width = sum(picture.shape[1] for picture in card.pictures) + _GAP * (len(card.pictures) - 1)
    x = left + (card_wh[0] - row_width) // 2
    for picture in card.pictures:
        canvas.paste(Image.fromarray(picture), (x, top + _PADDING + (BOX - picture.shape[0]) // 2))
        x += picture.shape[1] + _GAP
    room = card_wh[0] - 2 * _PADDING
    base = top + _PADDING + BOX + 6
    draw.text((left + _PADDING, base), _shorten(card.name, room, 15), _INK, _font(15))
    remark = _shorten("; ".join(card.remarks), room, 13)
    draw.text((left + _PADDING, base + 22), remark, _ALARM, _font(13))
    used = _font(13).getlength(remark) + 14 if remark else 0
    draw.text((left + _PADDING + used, base + 22), _shorten(card.numbers, room - used, 13), _FAINT, _font(13))


def _card_size(columns: int) -> tuple[int, int]:
    return 2 * _PADDING + columns * BOX + (columns - 1) * _GAP, _PADDING + BOX + _TEXT


def _shorten(text: str, room: float, size: int) -> str:
    """Return ``text`` on one line, cut in the middle so that it fits into ``room`` pixels: the end of a name tells most."""
    font = _font(size)
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if font.getlength(line) <= room:
        return line
    keep = len(line)
    while keep > 2 and font.getlength(_middle_cut(line, keep)) > room:
        keep -= 1
    return _middle_cut(line, keep)


def _middle_cut(line: str, keep: int) -> str:
    head = keep // 2
    return f"{line[:head]}…{line[len(line) - (keep - head) :]}"


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
