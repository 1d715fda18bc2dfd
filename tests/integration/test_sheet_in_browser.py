"""The HTML contact sheet in a real browser: what a person sees and does there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blissmask.media.overlay import DIMMED, TIER_COLOURS, TINT
from blissmask.media.sheets.card import Badness, Card, Measure, PackedCard, SheetText
from blissmask.media.sheets.html_page import pack_for_html, write_html
from tests.builders.browser import chromium, page_in, wait_until

LEGEND = tuple((tier.value, colour) for tier, colour in TIER_COLOURS.items())
TEXT = SheetText("Masks", ("photo", "tiers", "latent grid"), LEGEND)
GREY = 200
MANY = 1000
ODD = "<img src=x onerror=alert(1)>.png"


def card(
    name: str, face: float, *, height: int = 80, remarks: tuple[str, ...] = (), caption: str | None = None
) -> PackedCard:
    """Return a card: a grey photo, 120 pixels wide, the upper half of it face."""
    labels = np.zeros((height, 120), np.uint8)
    labels[: height // 2] = 1
    weights = np.zeros((10, 15), np.float32)
    weights[:5] = 1
    photo = np.full((height, 120, 3), GREY, np.uint8)
    measures = (Measure(f"face {face:.1%}", "face", face), Measure("found"))
    return pack_for_html(Card(name, photo, labels, weights, measures, remarks, Badness(len(remarks)), caption))


CARDS = [
    card("a.png", 0.3),
    card("b.png", 0.1, remarks=("34% cut away", "no face")),
    card("c.png", 0.2, remarks=("7% cut away",), caption="a cup,\n<b>white</b>"),
    card(ODD, 0.4),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as started:
        yield started


@pytest.fixture
def sheet(browser, tmp_path) -> Iterator[object]:
    """Yield a page that shows :data:`CARDS`."""
    write_html(tmp_path / "sheet.html", CARDS, TEXT)
    with page_in(browser) as page:
        open_sheet(page, tmp_path / "sheet.html")
        yield page


def open_sheet(page, path: Path) -> None:
    page.goto(path.as_uri())
    wait_until(page, "() => document.querySelector('.card:not([hidden]) canvas')?.width > 0")


def names(page) -> list[str]:
    # Not the inner text, which what is not drawn yet does not have.
    return page.locator(".card:not([hidden]) .name").all_text_contents()


def colour_at(page, selector: str, across: float, down: float) -> list[int]:
    """Return the colour of a canvas at a place, in shares of its width and height."""
    return page.eval_on_selector(
        selector,
        "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x * canvas.width, y * canvas.height, 1, 1).data]",
        [across, down],
    )[:3]


def wait_for_large(page, name: str) -> None:
    wait_until(
        page, "name => sheet.large?.item.name === name && document.getElementById('large-picture').width > 1", name
    )


def test_nothing_is_asked_for_and_no_name_is_run(browser, tmp_path) -> None:
    write_html(tmp_path / "sheet.html", CARDS, TEXT)
    asked: list[str] = []
    with page_in(browser) as page:
        page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
        page.on("dialog", lambda dialog: asked.append(dialog.message))
        open_sheet(page, tmp_path / "sheet.html")
        assert ODD in names(page)
    assert set(asked) <= {"file", "blob"}


def test_return_opens_an_item_and_arrows_go_on(sheet) -> None:
    for key in ("ArrowRight", "Enter"):
        sheet.keyboard.press(key)
    wait_for_large(sheet, "b.png")
    assert sheet.locator("#large-remarks").inner_text() == "34% cut away; no face"
    sheet.keyboard.press("ArrowRight")
    wait_for_large(sheet, "c.png")
    assert sheet.locator("#large-caption").inner_text() == "a cup,\n<b>white</b>"
    assert sheet.locator("#large-position").inner_text() == "2 of 4"
    sheet.keyboard.press("Escape")
    assert sheet.evaluate("document.activeElement.querySelector('.name').textContent") == "c.png"


def test_a_tier_is_tinted_until_it_is_switched_off(sheet) -> None:
    sheet.locator(".card", has_text="a.png").click()
    wait_for_large(sheet, "a.png")
    tinted = [round(GREY * (1 - TINT) + part * TINT) for part in LEGEND[0][1]]
    assert np.abs(np.subtract(colour_at(sheet, "#large-picture", 0.5, 0.25), tinted)).max() <= 3
    assert np.abs(np.subtract(colour_at(sheet, "#large-picture", 0.5, 0.75), GREY * DIMMED)).max() <= 3
    sheet.locator("#large-legend label", has_text="face").click()
    assert np.abs(np.subtract(colour_at(sheet, "#large-picture", 0.5, 0.25), GREY)).max() <= 3


def test_the_outline_has_light_and_dark_whatever_it_lies_on(sheet) -> None:
    sheet.locator(".card", has_text="a.png").click()
    wait_for_large(sheet, "a.png")
    across_the_border = [sum(colour_at(sheet, "#large-picture", 0.5, 0.47 + step / 500)) / 3 for step in range(30)]
    assert max(across_the_border) == 255
    assert min(across_the_border) < GREY * DIMMED / 2 + 10


def test_remarks_filter_and_numbers_sort_and_names_are_found(sheet) -> None:
    assert names(sheet)[0] == "b.png"
    sheet.select_option("#filter", label="…% cut away (2)")
    assert sorted(names(sheet)) == ["b.png", "c.png"]
    sheet.select_option("#filter", label="Nothing to remark (2)")
    sheet.select_option("#order", label="face, most first")
    assert names(sheet) == [ODD, "a.png"]
    sheet.select_option("#filter", value="all")
    sheet.select_option("#order", label="face, least first")
    assert names(sheet) == ["b.png", "c.png", "a.png", ODD]
    sheet.keyboard.press("/")
    sheet.keyboard.type("C.P")
    sheet.keyboard.press("Enter")
    assert names(sheet) == ["c.png"]
    assert sheet.evaluate("document.activeElement.querySelector('.name').textContent") == "c.png"


def test_pictures_say_what_they_are_to_those_who_do_not_see_them(sheet) -> None:
    labels = [
        node.get_attribute("aria-label") for node in sheet.locator(".card", has_text="a.png").locator("canvas").all()
    ]
    assert labels == ["a.png, photo", "a.png, tiers: face 30.0% · found", "a.png, latent grid: face 30.0% · found"]


def test_a_narrow_window_and_dark_colours(browser, tmp_path) -> None:
    write_html(tmp_path / "sheet.html", CARDS, TEXT)
    with page_in(browser, size_wh=(400, 700), scheme="dark") as page:
        open_sheet(page, tmp_path / "sheet.html")
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(22, 22, 22)"
        page.locator(".card").first.click()
        wait_for_large(page, "b.png")
        assert page.evaluate("document.getElementById('large').scrollWidth") <= 400


def test_a_turned_screen_leaves_room_below_the_picture(browser, tmp_path) -> None:
    write_html(tmp_path / "sheet.html", [card("tall.png", 0.3, height=240)], TEXT)
    with page_in(browser, size_wh=(1400, 900)) as page:
        open_sheet(page, tmp_path / "sheet.html")
        page.locator(".card").first.click()
        wait_for_large(page, "tall.png")
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.locator("#side").bounding_box()["height"] > 300
        page.keyboard.press("Escape")
        page.locator(".card").first.click()
        assert page.locator("#side").bounding_box()["height"] > 300


def test_where_there_are_no_labels_a_card_is_a_photo_and_its_grid(browser, tmp_path) -> None:
    write_html(
        tmp_path / "sheet.html", CARDS, SheetText("Items", ("as trained", "loss weights"), worst="least learned")
    )
    with page_in(browser) as page:
        open_sheet(page, tmp_path / "sheet.html")
        drawn = page.locator(".card").first.locator("canvas")
        assert drawn.evaluate_all("canvases => canvases.map((canvas) => canvas.width)") == [120, 15]
        labels = drawn.evaluate_all("canvases => canvases.map((canvas) => canvas.ariaLabel)")
        assert labels == ["b.png, as trained", "b.png, loss weights: face 10.0% · found"]
        assert page.locator("#order option").first.inner_text() == "Worst first: by remark, then least learned"
        page.locator(".card").first.click()
        wait_for_large(page, "b.png")
        assert page.locator("#large-grid").get_attribute("aria-label") == labels[1]


def test_a_word_of_any_length_stays_on_its_card(browser, tmp_path) -> None:
    write_html(tmp_path / "sheet.html", [card("n" * 200, 0.3, remarks=("r" * 200,))], TEXT)
    with page_in(browser, size_wh=(400, 800)) as page:
        open_sheet(page, tmp_path / "sheet.html")
        inside = "card => [...card.children].every((part) => part.scrollWidth <= part.clientWidth)"
        assert page.locator(".card").evaluate(inside)
        assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_a_thousand_items_are_drawn_when_they_are_seen(browser, tmp_path) -> None:
    pattern = CARDS[0]
    write_html(tmp_path / "many.html", [dataclasses.replace(pattern, name=f"{n}.png") for n in range(MANY)], TEXT)
    with page_in(browser) as page:
        open_sheet(page, tmp_path / "many.html")
        drawn = "[...document.querySelectorAll('.card')].filter((card) => card.querySelector('canvas').width).length"
        assert page.locator(".card").count() == MANY
        assert page.evaluate(drawn) < 100
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        wait_until(page, "() => [...document.querySelectorAll('.card')].at(-1).querySelector('canvas').width > 0")
        assert page.evaluate(drawn) < 100
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        told = page.locator("#on-paper").text_content()
        assert 900 < int(told.split()[0]) < MANY, "those without a picture are told on paper"
        seconds = page.evaluate(
            """async () => {
              const began = performance.now();
              document.getElementById("order").value = "-face";
              document.getElementById("tools").dispatchEvent(new Event("input"));
              await new Promise(requestAnimationFrame);
              return (performance.now() - began) / 1000;
            }"""
        )
        assert seconds < 1
