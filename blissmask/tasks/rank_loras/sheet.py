"""The ranking as one picture: a row for each LoRA, the best first, a column for each prompt. Sizes are in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blissmask.media.image import read_image
from blissmask.media.overlay import fit_size, shrink
from blissmask.media.png import is_made_by, write_png_rgb
from blissmask.media.video import read_frames, read_info
from blissmask.storage.ordinary import in_the_way
from blissmask.tasks.rank_loras.result import Result, line_of

_COMMAND = "ranking"
"""Value of ``command`` in the note of the picture; others are never overwritten."""
_BOX, _GAP, _MARGIN, _TEXT, _HEADER = 224, 8, 20, 52, 74
_PAPER, _INK, _FAINT, _NONE = (255, 255, 255), (32, 32, 32), (110, 110, 110), (232, 232, 230)
_LEAST_WIDTH = 760
"""Wide enough for the line of numbers, in a font of 15 pixels."""


def check_sheet(path: Path) -> None:
    """Raise InputError where something that is not ours stands in the place of the sheet."""
    if path.exists() and not is_made_by(path, _COMMAND):
        raise in_the_way(path, "the ranking", fix="remove or rename it, or name another `--output-dir`")


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
    width = max(_LEAST_WIDTH, 2 * _MARGIN + len(prompts) * (_BOX + _GAP) - _GAP)
    canvas = Image.new("RGB", (width, _HEADER + len(rows) * (_BOX + _TEXT) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, 14), "Ranking, the best first", _INK, ImageFont.load_default(20))
    for column, prompt in enumerate(prompts):
        _draw_text(draw, (_left(column), 48), prompt, room=_BOX, size=13)
    names = [*(f"{place}. {result.name}" for place, result in enumerate(rows[:-1], 1)), "the model without a LoRA"]
    for number, (name, result) in enumerate(zip(names, rows, strict=True)):
        top = _HEADER + number * (_BOX + _TEXT)
        _draw_text(draw, (_MARGIN, top), name, room=width - 2 * _MARGIN, size=16, colour=_INK)
        _draw_text(draw, (_MARGIN, top + 22), line_of(result), room=width - 2 * _MARGIN, size=13)
        for column, picture in enumerate(result.pictures):
            _draw_picture(canvas, picture, (_left(column), top + 44))
    write_png_rgb(path, np.array(canvas), note={"command": _COMMAND})


def _left(column: int) -> int:
    return _MARGIN + column * (_BOX + _GAP)


def _draw_picture(canvas: Image.Image, picture: Path | None, corner: tuple[int, int]) -> None:
    if picture is None:
        canvas.paste(_NONE, (*corner, corner[0] + _BOX, corner[1] + _BOX))
        return
    rgb_HW3 = _middle_frame(picture)
    size_wh = fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (_BOX, _BOX))
    canvas.paste(Image.fromarray(shrink(rgb_HW3, size_wh)), corner)


def _middle_frame(picture: Path) -> NDArray[np.uint8]:
    if picture.suffix == ".png":
        return read_image(picture).rgb_HW3
    # We wrote the clip, so the frames that its container states are there.
    return next(read_frames(picture, [read_info(picture).frame_count // 2]))


def _draw_text(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    *,
    room: int,
    size: int,
    colour: tuple[int, int, int] = _FAINT,
) -> None:
    """Draw one line, cut at its end where it is longer than ``room``."""
    font = ImageFont.load_default(size)
    shown = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    while font.getlength(shown) > room:
        shown = f"{shown[:-2]}…" if shown.endswith("…") else f"{shown[:-1]}…"
    draw.text(corner, shown, colour, font)
