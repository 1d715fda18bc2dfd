"""Contact sheets as PNG pages: a card per item, the ones that need a look first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blissmask.errors import InputError
from blissmask.media.png import write_png_rgb
from blissmask.media.sheet import CARDS_PER_PAGE, SHEET, SheetText, draw_page, is_sheet
from blissmask.media.sheet_pack import PackedCard, in_order, unpack


def write_png_pages(path: Path, cards: Sequence[PackedCard], text: SheetText) -> list[Path]:
    """Write the sheet as ``path``, further pages as ``NAME-2.png`` ...; remove later pages of an earlier, longer sheet.

    Returns:
        The files written.

    Raises:
        InputError: a file that is not a sheet of ours has the name of a page.
        MachineError: the disk is full or the folder cannot be written.
    """
    ordered = in_order(cards)
    pages = [ordered[start : start + CARDS_PER_PAGE] for start in range(0, len(ordered), CARDS_PER_PAGE)] or [[]]
    written = []
    for number, page in enumerate(pages, 1):
        name = path if number == 1 else _numbered(path, number)
        if name.exists() and not is_sheet(name):
            raise InputError(
                "a file that is not a contact sheet stands where one would go",
                where=[name],
                fix="choose another name for the sheet",
            )
        note = {"command": SHEET, "page": number, "pages": len(pages)}
        drawn_HW3 = draw_page([unpack(card) for card in page], text, page=number, pages=len(pages))
        write_png_rgb(name, drawn_HW3, note=note)
        written.append(name)
    stale = _numbered(path, len(pages) + 1)
    while stale.is_file() and is_sheet(stale):
        stale.unlink()
        stale = _numbered(path, int(stale.stem.rpartition("-")[2]) + 1)
    return written


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")
