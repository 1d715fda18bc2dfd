"""Tables as text: figures and words stay whole at any usual width, and sentences are what gives way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells  # noqa: TID251

from blissmask.ui.console import out, printable, start_paragraph

if TYPE_CHECKING:
    from blissmask.tasks.run.plan import Table

_FIGURE = re.compile(r"-?$|[-+]?\d")
"""How a figure begins; nothing and a dash stand for one that is not known."""
_PIECE = re.compile(r".+?(?:[/\\_-]+|$)")
"""A part of a path or a name, which is broken behind one where it has to be."""
_GAPS = (3, 2, 1)
"""Spaces between two columns; fewer where words stay whole by that."""
_FEWEST = 16
"""Letters that a column of words keeps, two or three words: names are broken before sentences stand on end."""
_NARROWEST = 2
"""Letters of a column of words where a table fits no otherwise: a letter of Chinese or Japanese is as wide as two."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table.

    Attributes:
        texts: heading and cells, the footer's too.
        figures: whether it holds figures, which stand to the right and are never broken.
        whole: letters of the widest text.
        least: letters without which a word would be broken, or a sentence stand on end.
    """

    texts: Sequence[str]
    figures: bool
    whole: int
    least: int


def show_table(table: Table) -> None:
    """Print a table on stdout, as wide as the terminal at most, unless its figures alone are wider.

    Where it does not fit, headings and texts are broken at spaces, the widest columns first. Where words do not fit,
    columns move together; only then are words broken, names behind `/`, `-` or `_`. Figures, and the words above them,
    are never broken: they set the least width.
    """
    start_paragraph()
    console = out()
    if table.title:
        console.print(printable(table.title), style="bold")
    columns = [_column(table, number) for number in range(len(table.columns))]
    gap, widths = _layout(columns, console.width - 1)
    rule = ("-" if console.options.ascii_only else "─") * (sum(widths) + gap * (len(widths) - 1))
    rows = [_lines(row, columns, widths, gap) for row in zip(*(column.texts for column in columns), strict=True)]
    footer = rows.pop() if table.footer else []
    _print(rows[0], style="bold")
    _print([rule])
    for lines in rows[1:]:
        _print(lines)
    if footer:
        _print([""])
        _print(footer, style="bold")
    console.print()


def _print(lines: Sequence[str], *, style: str = "") -> None:
    for line in lines:
        out().print(f" {line}".rstrip(), style=style)


def _column(table: Table, number: int) -> _Column:
    cells = [printable(row[number]) for row in table.rows]
    figures = number > 0 and all(_FIGURE.match(cell) for cell in cells)
    heading, footer = table.columns[number], [printable(cell) for cell in table.footer[number : number + 1]]
    texts = [heading, *cells, *footer]
    whole = max(map(cell_len, texts))
    if figures:
        least = max(map(cell_len, heading.split() + cells + footer), default=0)
        return _Column(texts, figures, whole, least)
    longest_word = max((cell_len(word) for text in texts for word in text.split()), default=0)
    return _Column(texts, figures, whole, least=max(longest_word, min(whole, _FEWEST)))


def _layout(columns: Sequence[_Column], room: int) -> tuple[int, list[int]]:
    """Return the spaces between columns, and the width of each, with which a table fits into ``room`` letters.

    Where none fits, they are as narrow as its figures allow.
    """
    leasts = [column.least for column in columns]
    tries = [(gap, leasts) for gap in _GAPS]
    tries += [(gap, _broken_to(_FEWEST, columns)) for gap in _GAPS[1:]]
    tries += [(_GAPS[-1], _broken_to(fewest, columns)) for fewest in range(_FEWEST - 1, _NARROWEST - 1, -1)]
    for gap, least in tries:
        for_columns = room - gap * (len(columns) - 1)
        if sum(least) <= for_columns:
            return gap, _shared_out(for_columns, columns, least)
    return tries[-1]


def _broken_to(fewest: int, columns: Sequence[_Column]) -> list[int]:
    """Return the least width of each column where those of words keep ``fewest`` letters."""
    return [column.least if column.figures else min(column.least, fewest) for column in columns]


def _shared_out(room: int, columns: Sequence[_Column], leasts: Sequence[int]) -> list[int]:
    """Return widths that fill ``room``, where ``leasts`` fit: the widest columns lose first."""
    most = max(column.whole for column in columns)
    while True:
        widths = [min(column.whole, max(least, most)) for column, least in zip(columns, leasts, strict=True)]
        if sum(widths) <= room:
            return widths
        most -= 1


def _lines(row: Sequence[str], columns: Sequence[_Column], widths: Sequence[int], gap: int) -> list[str]:
    """Return the lines of a row, whose cells are broken to the widths of their columns."""
    cells = [_broken(text, width) for text, width in zip(row, widths, strict=True)]
    lines = []
    for parts in zip_longest(*cells, fillvalue=""):
        padded = []
        for part, column, width in zip(parts, columns, widths, strict=True):
            room = " " * (width - cell_len(part))
            padded.append(f"{room}{part}" if column.figures else f"{part}{room}")
        lines.append((" " * gap).join(padded))
    return lines


def _broken(text: str, width: int) -> list[str]:
    """Return a text in lines of at most ``width`` letters, broken at spaces, in long words behind `/`, `-` or `_`."""
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        separator = " " if lines[-1] else ""
        if cell_len(lines[-1]) + len(separator) + cell_len(word) <= width:
            lines[-1] += separator + word
            continue
        if lines[-1]:
            lines.append("")
        for piece in _pieces(word, width):
            if cell_len(lines[-1]) + cell_len(piece) <= width:
                lines[-1] += piece
            else:
                lines.append(piece)
    return lines


def _pieces(word: str, width: int) -> list[str]:
    """Return the parts of a word between which it may be broken; none is wider than ``width``."""
    if cell_len(word) <= width:
        return [word]
    pieces: list[str] = []
    for part in _PIECE.findall(word):
        if cell_len(part) <= width:
            pieces.append(part)
        else:
            pieces += chop_cells(part, width)
    return pieces
