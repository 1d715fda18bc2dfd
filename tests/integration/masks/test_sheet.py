"""`masks`: the contact sheet shows every item and replaces nothing but a sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import UsageError
from blissmask.tasks.masks.plan import plan
from tests.builders.masks import ColourBackend, clip, config, make, two_photos
from tests.builders.pictures import save


@pytest.fixture
def folder(tmp_path: Path, backend: ColourBackend) -> Path:
    return two_photos(tmp_path)


@pytest.mark.parametrize("value", [0, 255])
def test_mask_made_by_hand_counts_in_the_summary_and_stands_on_the_sheet(folder: Path, value: int) -> None:
    save(folder / "masks" / "a.png", np.full((30, 40), value, dtype=np.uint8))
    summary = make(folder, sheet=folder / "sheet.html")
    assert summary.items == 2
    assert summary.details["empty_masks"] == ([] if value else ["a"])
    assert "a.png" in (folder / "sheet.html").read_text()


def test_sheet_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in .png or .html"):
        plan(config(folder, sheet="sheet.pdf"))


@pytest.mark.parametrize("place", ["photos", "masks"])
def test_sheet_among_photos_or_masks_is_refused(folder: Path, place: str) -> None:
    with pytest.raises(UsageError, match="taken for a photo or a mask"):
        plan(config(folder, sheet=folder / place / "sheet.png"))


@pytest.mark.parametrize("name", ["mine.png", "mine.html"])
def test_sheet_never_replaces_another_file(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"mine")
    with pytest.raises(UsageError, match="not a contact sheet"):
        plan(config(folder, sheet=folder / name))


@pytest.mark.parametrize("name", ["sheet.png", "sheet.html"])
def test_sheet_replaces_an_earlier_sheet(folder: Path, name: str) -> None:
    for _ in range(2):
        make(folder, sheet=folder / name)
    assert (folder / name).stat().st_size > 1000


def test_sheet_is_written_with_fresh_items_too(folder: Path) -> None:
    clip(folder)
    make(folder)
    make(folder, sheet=folder / "sheet.html")
    page = (folder / "sheet.html").read_text()
    assert page.count("<script type=text/plain") == 3
    assert "clip.avi" in page
