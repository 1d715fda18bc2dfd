"""Contact sheets: worst first, any name, pages of a readable size, one HTML file that needs nothing else."""

from __future__ import annotations

import dataclasses
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import InputError
from blissmask.masks.tiers import TierTable
from blissmask.media.image import read_size
from blissmask.media.overlay import (
    DIMMED,
    PLAIN,
    SUBJECT_COLOUR,
    TIER_COLOURS,
    colour_weights,
    draw_labels,
    fit_size,
    latent_grid,
    subject_labels,
    tier_labels,
)
from blissmask.media.sheets import lettering
from blissmask.media.sheets.card import Badness, Card, Measure, PackedCard, SheetText, in_order
from blissmask.media.sheets.html_page import pack_for_html, page_file, side_for, source_hash, write_html
from blissmask.media.sheets.png_pages import BOX, draw_page, letters_missing, pack_for_png, write_png_pages
from tests.builders.pictures import half_mask, random_rgb, tier_mask

TEXT = SheetText(
    "Masks", ("photo", "tiers", "latent grid"), tuple((tier.value, colour) for tier, colour in TIER_COLOURS.items())
)
ODD_NAMES = ["😀.png", "שלום.png", "<script>alert(1)</script>.png", "two\nlines.png", "x" * 255, "\udcff.png"]


COLOURS = tuple(TIER_COLOURS.values())


def card(name: str, *, badness: float = 0.0) -> Card:
    return Card(
        name,
        random_rgb((BOX, BOX // 2)),
        tier_labels(tier_mask(), (BOX, BOX // 2), TierTable()),
        np.ones((8, 16), np.float32),
        (Measure("face 12.0%", "face", 0.12),),
        ("no person",) if badness else (),
        Badness(badness),
    )


def packed(name: str, *, badness: float = 0.0) -> PackedCard:
    return pack_for_png(card(name, badness=badness), COLOURS)


def in_html(name: str, *, badness: float = 0.0) -> PackedCard:
    return pack_for_html(card(name, badness=badness))


def facts_of(page: Path) -> dict:
    """Return what the page's script is told."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r"<script type=application/json id=sheet>(.*?)</script>", text, re.DOTALL)[1])


def test_worst_come_first_then_by_name() -> None:
    cards = [packed("b10"), packed("b2"), packed("a"), packed("d", badness=1), packed("c", badness=3)]
    assert [each.name for each in in_order(cards)] == ["c", "d", "a", "b2", "b10"]


def test_where_remarks_are_alike_the_number_of_the_sheet_decides() -> None:
    found = {"a": (0, 0.1), "b": (0, 0.3), "c": (1, -0.5), "d": (0, 0.3), "e": (1, -0.2)}
    cards = [
        dataclasses.replace(packed(name), badness=Badness(remark, number)) for name, (remark, number) in found.items()
    ]
    assert [each.name for each in in_order(cards)] == ["e", "c", "b", "d", "a"]


def test_a_sheet_without_labels_shows_no_photo_twice(tmp_path: Path) -> None:
    two = SheetText("Items", ("as trained", "loss weights"))
    page = draw_page([packed("a.png")], two)
    assert page.shape[1] < draw_page([packed("a.png")], SheetText("Items", TEXT.columns)).shape[1]
    write_html(tmp_path / "sheet.html", [in_html("a.png")], two)
    assert facts_of(tmp_path / "sheet.html")["pictures"] == [0, 2]


@pytest.mark.parametrize("text", ["a photo of ohwx in a café", "x" * 90, "one " * 30, "", "\n \udcff"])
def test_wrapped_text_is_whole_and_fits(text: str) -> None:
    lines = lettering.wrapped(text, 120, 13, most=99)
    assert all(lettering.text_length(line, 13) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == lettering.on_one_line(text).replace(" ", "")


@pytest.mark.parametrize("room", [-5, 3, 30, 90, 400])
def test_a_shortened_line_fits_and_keeps_its_end(room: int) -> None:
    line = lettering.shortened("kyla-step00000120.png", room, 13)
    assert lettering.text_length(line, 13) <= max(0, room)
    assert line.endswith("g") or not line


def test_what_has_no_room_in_its_lines_ends_in_an_ellipsis() -> None:
    lines = lettering.wrapped("one " * 30, 120, 13, most=2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert lettering.text_length(lines[1], 13) <= 120


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


def test_a_page_of_one_card_has_room_for_a_long_legend() -> None:
    removed = ("somebody else, removed and of no weight at all", SUBJECT_COLOUR)
    page = draw_page([packed("a.png")], dataclasses.replace(TEXT, legend=(*TEXT.legend, removed)))
    legend = page[48:72]
    drawn = np.flatnonzero((legend != legend[0, 0]).any(axis=(0, 2)))
    assert drawn.max() < page.shape[1] - 10


def test_sheet_without_items_is_a_page_with_a_title() -> None:
    page = draw_page([], TEXT)
    assert page.shape[1] >= 600
    assert (page != page[0, 0]).any()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_can_be_drawn(name: str) -> None:
    assert draw_page([packed(name, badness=1)], TEXT).dtype == np.uint8


def test_html_holds_its_pictures_and_asks_for_nothing(tmp_path: Path) -> None:
    write_html(tmp_path / "sheet.html", [in_html(name) for name in ODD_NAMES], TEXT)
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=['\"]", page)
    assert page.count("<script type=text/plain") == len(ODD_NAMES)
    assert "<script>alert" not in page


def test_html_allows_its_own_script_alone(tmp_path: Path) -> None:
    write_html(tmp_path / "sheet.html", [in_html("a.png")], TEXT)
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert f"script-src {source_hash(page_file('sheet.js'))};" in page
    assert page_file("sheet.js") in page


def test_html_holds_labels_and_grid_without_loss() -> None:
    before = card("a.png")
    _, labels, grid = pack_for_html(before).pictures
    assert zlib.decompress(labels.data) == struct.pack("<HH", *labels.size_wh) + before.labels_HW.tobytes()
    assert zlib.decompress(grid.data) == struct.pack("<HH", 16, 8) + bytes([255]) * 128


def test_html_lists_the_worst_first(tmp_path: Path) -> None:
    write_html(tmp_path / "sheet.html", [in_html("fine.png"), in_html("bad.png", badness=1)], TEXT)
    items = facts_of(tmp_path / "sheet.html")["items"]
    assert [(item["name"], item["remarks"]) for item in items] == [("bad.png", ["no person"]), ("fine.png", [])]
    assert items[0]["measures"] == [{"text": "face 12.0%", "name": "face", "value": 0.12}]


@pytest.mark.parametrize(("count", "side"), [(1, 1024), (238, 1024), (1000, 500), (100_000, 384)])
def test_the_more_items_the_smaller_their_photos(count: int, side: int) -> None:
    assert side_for(count) == side


@pytest.mark.parametrize(
    ("size", "fitted"), [((400, 200), (208, 104)), ((100, 50), (100, 50)), ((10_000, 1), (208, 1))]
)
def test_pictures_are_fitted_and_never_enlarged(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fit_size(size, (BOX, BOX)) == fitted


def test_background_is_darkened_and_each_tier_tinted_its_own_way() -> None:
    photo = np.full((32, 48, 3), 128, dtype=np.uint8)
    shown = draw_labels(photo, tier_labels(tier_mask(), (48, 32), TierTable()), COLOURS)
    assert shown[16, 40].max() < 64
    colours = {tuple(shown[row, 10]) for row in (3, 12, 24)}
    assert len(colours) == 3


def test_subject_stays_bright_and_the_rest_is_darkened() -> None:
    labels = subject_labels(half_mask(), (48, 32))
    shown = draw_labels(np.full((32, 48, 3), 128, dtype=np.uint8), labels, (SUBJECT_COLOUR,))
    assert shown[16, 10].mean() > 2 * shown[16, 40].mean()


def test_a_photo_without_a_mask_is_shown_as_it_is() -> None:
    photo = random_rgb((48, 32))
    assert (draw_labels(photo, np.full((32, 48), PLAIN, np.uint8), COLOURS) == photo).all()


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_an_outline_stands_out_from_dark_and_pale_alike(shade: int) -> None:
    labels = np.ones((20, 20), np.uint8)
    labels[:, 10:] = 2
    colours = ((shade,) * 3,) * 2
    row = draw_labels(np.full((20, 20, 3), shade, np.uint8), labels, colours)[10, :, 0]
    assert row.max() == 255
    assert row.min() <= 255 * DIMMED


def test_a_value_between_tiers_has_the_label_of_the_nearest() -> None:
    values = np.array([[0, 30, 50, 80, 110, 128, 200, 255]], np.uint8)
    assert tier_labels(values, (8, 1), TierTable()).tolist() == [[0, 0, 2, 2, 3, 3, 1, 1]]


def test_latent_grid_has_the_cells_of_the_training_size() -> None:
    grid = latent_grid(np.ones((1000, 2000), dtype=np.float32), 512 * 512)
    assert grid.shape == (46, 90)  # 720 x 368 pixels, cells of 8
    assert grid.min() == grid.max() == 1.0


def test_weights_0_and_1_are_dark_and_bright() -> None:
    drawn = colour_weights(np.array([[0, 1]], dtype=np.float32), (20, 10))
    assert drawn[5, 2].mean() < 60
    assert drawn[5, 18].mean() > 150


@pytest.fixture
def only_own_font(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let the machine have no fonts."""
    for known in (lettering._font_with, lettering._fonts_here):
        known.cache_clear()
    monkeypatch.setattr(lettering, "_in_use", [])
    monkeypatch.setattr(lettering, "font_folders", lambda: [tmp_path])
    yield
    for known in (lettering._font_with, lettering._fonts_here):
        known.cache_clear()


def test_letters_that_no_font_has_are_told(only_own_font: None) -> None:
    assert letters_missing([packed("kyla.png"), packed("日本.png")]) == ["日", "本"]
    assert draw_page([packed("日本.png")], TEXT).dtype == np.uint8


def test_letters_of_other_scripts_are_written_with_a_font_of_the_machine() -> None:
    if lettering._font_with("Ж") is None or lettering._font_with("Ж") == lettering._OWN:
        pytest.skip("this machine has no font with Cyrillic letters beside Pillow's own")
    assert lettering.letters_without_font(["Ж"]) == []
    pages = [draw_page([packed(name)], TEXT) for name in ("ЖЖЖ.png", "\U0010fffd\U0010fffd\U0010fffd.png")]
    assert pages[0].shape == pages[1].shape
    assert (pages[0] != pages[1]).any()
    assert lettering.text_length("aЖb", 15) == pytest.approx(
        sum(lettering.text_length(letter, 15) for letter in ("a", "Жb")), abs=1
    )


def test_a_file_that_is_no_font_is_passed_over(only_own_font: None, tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    assert letters_missing([packed("日.png")]) == ["日"]
