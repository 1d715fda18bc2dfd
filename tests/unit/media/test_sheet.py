"""Contact sheets: worst first, any name, pages of a readable size, one HTML file that needs nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import InputError
from blissmask.masks.tiers import TierTable
from blissmask.media.image import read_image, read_size
from blissmask.media.overlay import TIER_COLOURS, colour_weights, fit_size, latent_grid, overlay_subject, overlay_tiers
from blissmask.media.sheet_html import write_html
from blissmask.media.sheet_pages import (
    BOX,
    Card,
    PackedCard,
    SheetText,
    draw_page,
    in_order,
    pack,
    unpack,
    write_png_pages,
)
from tests.builders.pictures import half_mask, random_rgb, tier_mask

TEXT = SheetText(
    "Masks", ("photo", "tiers", "latent grid"), tuple((tier.value, colour) for tier, colour in TIER_COLOURS.items())
)
ODD_NAMES = ["😀.png", "שלום.png", "<script>alert(1)</script>.png", "two\nlines.png", "x" * 255, "\udcff.png"]


def card(name: str, *, badness: float = 0.0) -> Card:
    picture = random_rgb((BOX, BOX // 2))
    return Card(name, (picture,) * 3, "face 12.0%", ("no person",) if badness else (), badness)


def packed(name: str, *, badness: float = 0.0, lossless: bool = True) -> PackedCard:
    return pack(card(name, badness=badness), lossless=lossless)


def test_worst_come_first_then_by_name() -> None:
    cards = [packed("b"), packed("a"), packed("d", badness=1), packed("c", badness=3)]
    assert [each.name for each in in_order(cards)] == ["c", "d", "a", "b"]


def test_cards_that_wait_for_a_page_lose_nothing() -> None:
    before = card("a", badness=2)
    after = unpack(pack(before, lossless=True))
    assert all((then == now).all() for then, now in zip(before.pictures, after.pictures, strict=True))
    assert (after.name, after.numbers, after.remarks, after.badness) == ("a", "face 12.0%", ("no person",), 2)


def test_hundreds_of_photos_become_pages_of_a_readable_size(tmp_path: Path) -> None:
    pages = write_png_pages(tmp_path / "sheet.png", [packed(f"{number}.png") for number in range(50)], TEXT)
    assert [page.name for page in pages] == ["sheet.png", "sheet-2.png", "sheet-3.png"]
    width, height = read_size(pages[0])
    assert width <= 2100
    assert height <= 2100


def test_pages_of_an_earlier_longer_sheet_go_but_not_other_files(tmp_path: Path) -> None:
    write_png_pages(tmp_path / "sheet.png", [packed(f"{number}.png") for number in range(50)], TEXT)
    (tmp_path / "sheet-4.png").write_bytes(b"mine")
    write_png_pages(tmp_path / "sheet.png", [packed("a.png")], TEXT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet-4.png", "sheet.png"]


def test_page_never_replaces_another_file(tmp_path: Path) -> None:
    (tmp_path / "sheet-2.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="not a contact sheet"):
        write_png_pages(tmp_path / "sheet.png", [packed(f"{number}.png") for number in range(50)], TEXT)
    assert (tmp_path / "sheet-2.png").read_bytes() == b"mine"


def test_sheet_without_items_is_a_page_with_a_title() -> None:
    page = draw_page([], TEXT)
    assert page.shape[1] >= 600
    assert (page != page[0, 0]).any()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_can_be_drawn(name: str) -> None:
    assert draw_page([card(name, badness=1)], TEXT).dtype == np.uint8


def test_html_holds_its_pictures_and_no_scripts_nor_links(tmp_path: Path) -> None:
    write_html(tmp_path / "sheet.html", [packed(name, lossless=False) for name in ODD_NAMES], TEXT)
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    assert page.count("<img") == 3 * len(ODD_NAMES) + 1
    assert "&lt;script&gt;" in page


def test_html_puts_what_needs_a_look_into_a_section_of_its_own(tmp_path: Path) -> None:
    write_html(
        tmp_path / "sheet.html",
        [packed("fine.png", lossless=False), packed("bad.png", badness=1, lossless=False)],
        TEXT,
    )
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    order = [page.index(text) for text in ("Needs a look (1)", "bad.png", "Nothing to remark (1)", "fine.png")]
    assert order == sorted(order)


def test_sheet_can_have_more_columns(tmp_path: Path) -> None:
    picture = random_rgb((BOX, BOX))
    text = SheetText("Cache", ("photo", "tiers", "latent grid", "after gamma and floor"))
    pages = write_png_pages(tmp_path / "s.png", [pack(Card("a", (picture,) * 4, ""), lossless=True)], text)
    assert read_image(pages[0]).rgb_HW3.shape[1] > 4 * BOX


@pytest.mark.parametrize(
    ("size", "fitted"), [((400, 200), (208, 104)), ((100, 50), (100, 50)), ((10_000, 1), (208, 1))]
)
def test_pictures_are_fitted_and_never_enlarged(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fit_size(size, (BOX, BOX)) == fitted


def test_background_is_darkened_and_each_tier_tinted_its_own_way() -> None:
    photo = np.full((32, 48, 3), 128, dtype=np.uint8)
    shown = overlay_tiers(photo, tier_mask(), TierTable())
    assert shown[16, 40].max() < 64
    colours = {tuple(shown[row, 10]) for row in (3, 12, 24)}
    assert len(colours) == 3


def test_subject_stays_bright_and_the_rest_is_darkened() -> None:
    shown = overlay_subject(np.full((32, 48, 3), 128, dtype=np.uint8), half_mask())
    assert shown[16, 10].mean() > 2 * shown[16, 40].mean()


def test_latent_grid_has_the_cells_of_the_training_size() -> None:
    grid = latent_grid(np.ones((1000, 2000), dtype=np.float32), 512 * 512)
    assert grid.shape == (46, 90)  # 720 x 368 pixels, cells of 8
    assert grid.min() == grid.max() == 1.0


def test_weights_0_and_1_are_dark_and_bright() -> None:
    drawn = colour_weights(np.array([[0, 1]], dtype=np.float32), (20, 10))
    assert drawn[5, 2].mean() < 60
    assert drawn[5, 18].mean() > 150
