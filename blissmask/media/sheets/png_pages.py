"""Contact sheets as PNG pages with the worst items first.

A card shows three pictures side by side (photo, overlay, latent grid), the file's name and a line of numbers. Sizes are
(width, height) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from blissmask.errors import InputError
from blissmask.media.overlay import Colour, colour_weights, draw_labels, fit_size, shrink
from blissmask.media.png import is_made_by, write_png_rgb
from blissmask.media.sheets.card import Card, PackedCard, PackedPicture, SheetText, in_order, pack_card, pack_drawing
from blissmask.media.sheets.lettering import draw_text, letters_without_font, on_one_line, shortened, text_length

BOX = 208
"""Side of the square that each picture is fitted into."""

SHEET = "sheet"
"""Value of ``command`` in the note of a page; masks name the command that made them there."""

_CARDS_ACROSS, _ROWS = 3, 7
CARDS_PER_PAGE = _CARDS_ACROSS * _ROWS

# The layout, in pixels. The heights of header and text have room for fonts of 22, 15, 14 and 13 pixels.
_GAP, _PADDING, _MARGIN = 4, 10, 20
_HEADER, _TEXT = 84, 50
_PAPER, _CARD, _EDGE = (246, 246, 244), (255, 255, 255), (214, 214, 210)
_INK, _FAINT, _ALARM = (32, 32, 32), (105, 105, 105), (176, 58, 0)
_SCALE_WH = (120, 15)
"""Size of the scale of weight colours in the header."""
_SCALE_ENDS = ("weight 0", "1")
"""What stands before and behind it."""


def pack_for_png(card: Card, colours: Sequence[Colour]) -> PackedCard:
    """Draw the three pictures of a card as a page shows them, and encode them without loss.

    Args:
        card: the card; its photo may be up to twice as large as :data:`BOX`, so that outlines come out thin and smooth.
        colours: of the labels, from 1.
    """
    height, width = card.photo_HW3.shape[:2]
    shown_wh = fit_size((width, height), (BOX, BOX))
    photo = pack_drawing(shrink(card.photo_HW3, shown_wh))
    drawn = pack_drawing(shrink(draw_labels(card.photo_HW3, card.labels_HW, colours), shown_wh))
    return pack_card(card, (photo, drawn, pack_drawing(colour_weights(card.weights_hw, shown_wh))))


def write_png_pages(path: Path, cards: Sequence[PackedCard], text: SheetText) -> list[Path]:
    """Write the sheet as ``path``, further pages as ``NAME-2.png`` ...; remove later pages of an earlier, longer sheet.

    Returns:
        The files written.

    Raises:
        InputError: a file that is not a sheet of ours has the name of a page.
        MachineError: the disk is full or the folder cannot be written.
    """
    pages = _split_into_pages(in_order(cards))
    written = []
    for number, page in enumerate(pages, 1):
        name = _page_path(path, number)
        if name.exists() and not is_sheet(name):
            raise InputError(
                "a file that is not a contact sheet stands where one would go",
                where=[name],
                fix="choose another name for the sheet",
            )
        drawn_HW3 = draw_page(page, text, page=number, pages=len(pages))
        write_png_rgb(name, drawn_HW3, note={"command": SHEET, "page": number, "pages": len(pages)})
        written.append(name)
    _remove_pages_from(path, len(pages) + 1)
    return written


def letters_missing(cards: Iterable[PackedCard]) -> list[str]:
    """Return the letters of cards that no font of this machine has; boxes stand for them on the pages."""
    return letters_without_font(on_one_line(f"{card.name} {' '.join(card.remarks)} {card.numbers}") for card in cards)


def is_sheet(path: Path) -> bool:
    """Return whether a file is a page of a contact sheet of ours."""
    return is_made_by(path, SHEET)


def draw_page(cards: Sequence[PackedCard], text: SheetText, *, page: int = 1, pages: int = 1) -> NDArray[np.uint8]:
    """Draw one page as RGB; it is as high as its rows need."""
    card_wh = _card_size(len(text.columns))
    across = max(min(_CARDS_ACROSS, len(cards)), 1)
    rows = -(-len(cards) // across)
    cards_width = across * card_wh[0] + (across - 1) * _PADDING
    width = 2 * _MARGIN + max(cards_width, math.ceil(_legend_width(text)))
    height = _HEADER + rows * (card_wh[1] + _PADDING) + _MARGIN
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    _draw_header(draw, canvas, text, page, pages)
    for number, card in enumerate(cards):
        row, column = divmod(number, across)
        corner = (_MARGIN + column * (card_wh[0] + _PADDING), _HEADER + row * (card_wh[1] + _PADDING))
        _draw_card(draw, canvas, card, text.pictures, corner, card_wh)
    return np.array(canvas)


def _decode(picture: PackedPicture) -> NDArray[np.uint8]:
    bgr_HW3 = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr_HW3 is not None, "we encoded it ourselves"
    return np.asarray(cv2.cvtColor(bgr_HW3, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _split_into_pages(cards: Sequence[PackedCard]) -> list[Sequence[PackedCard]]:
    """Return the cards of each page; a sheet without cards has one page, which shows its title."""
    if not cards:
        return [[]]
    return [cards[start : start + CARDS_PER_PAGE] for start in range(0, len(cards), CARDS_PER_PAGE)]


def _page_path(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _remove_pages_from(path: Path, number: int) -> None:
    """Remove page ``number`` of an earlier sheet and those after it, up to the first that is missing or is not ours."""
    while is_sheet(_page_path(path, number)):
        _page_path(path, number).unlink()
        number += 1


def _draw_header(draw: ImageDraw.ImageDraw, canvas: Image.Image, text: SheetText, page: int, pages: int) -> None:
    title = text.title if pages == 1 else f"{text.title}, page {page} of {pages}"
    title = shortened(title, canvas.width - 2 * _MARGIN, 22)
    draw_text(draw, (_MARGIN, 14), title, _INK, 22)
    used = _MARGIN + text_length(title, 22) + 18
    columns = shortened(" | ".join(text.columns), canvas.width - _MARGIN - used, 14)
    draw_text(draw, (canvas.width - _MARGIN - text_length(columns, 14), 21), columns, _FAINT, 14)
    x = float(_MARGIN)
    for name, colour in text.legend:
        draw.rectangle((x, 52, x + 15, 67), fill=colour, outline=_FAINT)
        draw_text(draw, (x + 22, 51), name, _INK, 14)
        x += _entry_width(name)
    draw_text(draw, (x, 51), _SCALE_ENDS[0], _INK, 14)
    x += text_length(_SCALE_ENDS[0], 14) + 6
    canvas.paste(Image.fromarray(_weight_scale()), (round(x), 52))
    draw_text(draw, (x + _SCALE_WH[0] + 6, 51), _SCALE_ENDS[1], _INK, 14)


def _entry_width(name: str) -> float:
    """Return the width of a colour and its name in the legend, with the room behind it."""
    return 22 + text_length(name, 14) + 18


def _legend_width(text: SheetText) -> float:
    """Return the width of the legend, the scale of weights included; see :func:`_draw_header`."""
    entries = sum(_entry_width(name) for name, _ in text.legend)
    return entries + sum(text_length(end, 14) + 6 for end in _SCALE_ENDS) + _SCALE_WH[0]


def _weight_scale() -> NDArray[np.uint8]:
    """Return the scale of weight colours from 0 (left) to 1 (right) as an RGB picture."""
    return colour_weights(np.linspace(0, 1, _SCALE_WH[0], dtype=np.float32)[None, :], _SCALE_WH)


def _draw_card(
    draw: ImageDraw.ImageDraw,
    canvas: Image.Image,
    card: PackedCard,
    shown: Sequence[int],
    corner: tuple[int, int],
    card_wh: tuple[int, int],
) -> None:
    left, top = corner
    box = (left, top, left + card_wh[0] - 1, top + card_wh[1] - 1)
    if card.remarks:
        draw.rectangle(box, fill=_CARD, outline=_ALARM, width=2)
    else:
        draw.rectangle(box, fill=_CARD, outline=_EDGE, width=1)
    pictures = [card.pictures[number] for number in shown]
    row_width = sum(picture.size_wh[0] for picture in pictures) + _GAP * (len(pictures) - 1)
    x = left + (card_wh[0] - row_width) // 2
    for picture in pictures:
        width, height = picture.size_wh
        canvas.paste(Image.fromarray(_decode(picture)), (x, top + _PADDING + (BOX - height) // 2))
        x += width + _GAP
    room = card_wh[0] - 2 * _PADDING
    base = top + _PADDING + BOX + 6
    draw_text(draw, (left + _PADDING, base), shortened(card.name, room, 15), _INK, 15)
    remark = shortened("; ".join(card.remarks), room, 13)
    draw_text(draw, (left + _PADDING, base + 22), remark, _ALARM, 13)
    used = text_length(remark, 13) + 14 if remark else 0
    draw_text(draw, (left + _PADDING + used, base + 22), shortened(card.numbers, room - used, 13), _FAINT, 13)


def _card_size(columns: int) -> tuple[int, int]:
    return 2 * _PADDING + columns * BOX + (columns - 1) * _GAP, _PADDING + BOX + _TEXT
