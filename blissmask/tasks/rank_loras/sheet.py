"""The ranking as one picture: a row for each LoRA, the best first, a column for each prompt. Sizes are in pixels.

Columns are as wide and rows as high as their pictures, and what does not fit beside each other is broken into lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from blissmask.media.image import read_image
from blissmask.media.overlay import Colour, fit_size, shrink
from blissmask.media.png import is_made_by, write_png_rgb
from blissmask.media.sheets.lettering import draw_text, wrapped
from blissmask.media.video import read_frames, read_info
from blissmask.storage.ordinary import in_the_way
from blissmask.tasks.rank_loras.result import Result, line_of
from blissmask.tasks.ranking.candidates import OUT_OF_THE_WAY

_COMMAND = "ranking"
"""Value of ``command`` in the note of the picture; others are never overwritten."""
_BOX, _LEAST_COLUMN = 256, 128
"""Pictures are fitted into a square of the one; a column has room for words where its pictures are smaller."""
_GAP, _MARGIN, _ROW_GAP = 8, 20, 22
_LEAST_WIDTH = 560
"""Wide enough for most lines of numbers; longer ones are broken."""
_TITLE, _NAME, _SMALL = 20, 16, 13
"""Sizes of the fonts."""
_LEADING = 1.4
"""Height of a line in sizes of its font."""
_PROMPT_LINES, _NAME_LINES = 8, 3
_PAPER, _INK, _FAINT, _NONE = (255, 255, 255), (32, 32, 32), (110, 110, 110), (232, 232, 230)


def check_sheet(path: Path) -> None:
    """Raise InputError where something that is not ours stands in the place of the sheet."""
    if path.exists() and not is_made_by(path, _COMMAND):
        raise in_the_way(path, "the ranking", fix=OUT_OF_THE_WAY)


def write_sheet(path: Path, rows: Sequence[Result], prompts: Sequence[str]) -> None:
    """Draw the sheet.

    Args:
        path: the picture, ``.png``, see :func:`check_sheet`.
        rows: in the order of the ranking; the last one is of the base model.
        prompts: of the columns.

    Raises:
        InputError: as :func:`check_sheet`.
        MachineError: the disk is full.
    """
    check_sheet(path)
    write_png_rgb(path, draw_sheet(rows, prompts), note={"command": _COMMAND})


def draw_sheet(rows: Sequence[Result], prompts: Sequence[str]) -> NDArray[np.uint8]:
    """Return the sheet as RGB; arguments as for :func:`write_sheet`."""
    names = [*(f"{place}. {result.name}" for place, result in enumerate(rows[:-1], 1)), "the model without a LoRA"]
    pictures = [[_thumbnail(picture) for picture in result.pictures] for result in rows]
    widths = [_column_width([own[column] for own in pictures]) for column in range(len(prompts))]
    room = max(_LEAST_WIDTH, sum(widths) + _GAP * (len(widths) - 1))
    heads = [
        _Text.of(prompt, width, _SMALL, _FAINT, most=_PROMPT_LINES)
        for prompt, width in zip(prompts, widths, strict=True)
    ]
    drawn = []
    for name, result, own in zip(names, rows, pictures, strict=True):
        named = _Text.of(name, room, _NAME, _INK, most=_NAME_LINES)
        drawn.append(_Row(named, _Text.of(line_of(result), room, _SMALL, _FAINT, most=_NAME_LINES), own))
    title = _Text.of("Ranking, the best first", room, _TITLE, _INK, most=1)
    header = title.height + _GAP + max((head.height for head in heads), default=0)
    height = _MARGIN + header + sum(_ROW_GAP + row.height for row in drawn) + _MARGIN
    canvas = Image.new("RGB", (room + 2 * _MARGIN, height), _PAPER)
    title.draw(canvas, (_MARGIN, _MARGIN))
    lefts = [_MARGIN + sum(widths[:column]) + _GAP * column for column in range(len(widths))]
    for left, head in zip(lefts, heads, strict=True):
        # Next to the pictures, so that a short prompt is not far from its own.
        head.draw(canvas, (left, _MARGIN + header - head.height))
    top = _MARGIN + header
    for row in drawn:
        top += _ROW_GAP
        row.draw(canvas, top, lefts, widths)
        top += row.height
    return np.array(canvas)


@dataclass(frozen=True, slots=True)
class _Text:
    """Lines of one font."""

    lines: Sequence[str]
    size: int
    colour: Colour

    @classmethod
    def of(cls, text: str, room: int, size: int, colour: Colour, *, most: int) -> _Text:
        return cls(wrapped(text, room, size, most=most), size, colour)

    @property
    def height(self) -> int:
        return len(self.lines) * self.leading

    @property
    def leading(self) -> int:
        return round(_LEADING * self.size)

    def draw(self, canvas: Image.Image, corner: tuple[int, int]) -> None:
        left, top = corner
        for number, line in enumerate(self.lines):
            draw_text(ImageDraw.Draw(canvas), (left, top + number * self.leading), line, self.colour, self.size)


@dataclass(frozen=True, slots=True)
class _Row:
    """A LoRA with its pictures, each as it is shown; None for one that could not be drawn."""

    name: _Text
    numbers: _Text
    pictures: Sequence[NDArray[np.uint8] | None]

    @property
    def height(self) -> int:
        return self.name.height + self.numbers.height + _GAP // 2 + self.picture_height

    @property
    def picture_height(self) -> int:
        return max((len(picture) for picture in self.pictures if picture is not None), default=_LEAST_COLUMN)

    def draw(self, canvas: Image.Image, top: int, lefts: Sequence[int], widths: Sequence[int]) -> None:
        self.name.draw(canvas, (_MARGIN, top))
        self.numbers.draw(canvas, (_MARGIN, top + self.name.height))
        below = top + self.name.height + self.numbers.height + _GAP // 2
        for left, width, picture in zip(lefts, widths, self.pictures, strict=True):
            if picture is None:
                canvas.paste(_NONE, (left, below, left + width, below + self.picture_height))
            else:
                canvas.paste(Image.fromarray(picture), (left, below))


def _column_width(pictures: Sequence[NDArray[np.uint8] | None]) -> int:
    shown = [int(picture.shape[1]) for picture in pictures if picture is not None]
    return max(_LEAST_COLUMN, max(shown, default=0))


def _thumbnail(picture: Path | None) -> NDArray[np.uint8] | None:
    if picture is None:
        return None
    rgb_HW3 = _middle_frame(picture)
    return shrink(rgb_HW3, fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (_BOX, _BOX)))


def _middle_frame(picture: Path) -> NDArray[np.uint8]:
    if picture.suffix == ".png":
        return read_image(picture).rgb_HW3
    # We wrote the clip, so the frames that its container states are there.
    return next(read_frames(picture, [read_info(picture).frame_count // 2]))
