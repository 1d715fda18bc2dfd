"""tasks/mask_files/contact_sheet.py: a sheet of very many photos fits into memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from blissmask.media.sheets.card import Card, SheetText
from blissmask.media.sheets.png_pages import BOX
from blissmask.tasks.mask_files.contact_sheet import draw_sheet
from blissmask.tasks.run.plan import RunContext

TEXT = SheetText("Masks", ("photo", "tiers", "latent grid"))
DECODED_BYTES = 3 * BOX * BOX * 3
# Both are more than a page, and one page is drawn at a time.
FEW, MANY = 40, 100


def card(number: int, side: int) -> Card:
    """Draw a picture as smooth as photos are."""
    down, across = np.mgrid[0:BOX, 0:BOX]
    picture = np.dstack([(down + number) % 256, (across + number) % 256, (down + across) // 2]).astype(np.uint8)
    labels = (down > BOX // 2).astype(np.uint8)
    return Card(f"{number}.png", picture, labels, np.ones((64, 64), np.float32))


def most_bytes(sheet: Path, count: int) -> int:
    """Return the most memory that Python held while a sheet of so many cards was made."""
    tracemalloc.start()
    draw_sheet(sheet, range(count), card, TEXT, RunContext(jobs=2), name=str)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("name", ["sheet.html", "sheet.png"])
def test_cards_wait_as_encoded_pictures(tmp_path: Path, name: str) -> None:
    draw_sheet(tmp_path / name, range(1), card, TEXT, RunContext(), name=str)
    per_card = (most_bytes(tmp_path / name, MANY) - most_bytes(tmp_path / name, FEW)) / (MANY - FEW)
    assert per_card < DECODED_BYTES / 4
