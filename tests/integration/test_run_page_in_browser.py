"""Tables and charts of the page of a training in a real browser: what is wider than the window."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blissmask.media.sheets.html_page import page_file
from blissmask.tasks.run.plan import Table
from blissmask.tasks.train.saving.curve import svg_curve
from blissmask.tasks.train.saving.page.sections import table
from tests.builders.browser import chromium, page_in

NAME = "kyla_" + "x" * 200


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as started:
        yield started


def shown() -> str:
    log = [{"step": step, "loss": 1 / step, "lr": 1e-4} for step in range(1, 20)]
    wide = table(
        Table("", ("step", "file", *("figure",) * 12), (("20", NAME, *("0.123",) * 12),)), [("", 2), ("held out", 12)]
    )
    style = page_file("sheet.css") + page_file("run.css")
    return f"<style>{style}</style><h1>{NAME}</h1><div class=scroll>{''.join(svg_curve(log))}</div>{''.join(wide)}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_too_wide_is_scrolled_in_its_own_box_that_says_so(browser, scheme) -> None:
    with page_in(browser, size_wh=(400, 800), scheme=scheme) as page:
        page.set_content(shown())
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        boxes = page.locator(".scroll")
        assert boxes.evaluate_all("boxes => boxes.map((box) => box.scrollWidth > box.clientWidth)") == [True, True]
        # The shadows at the edges lie behind, so nothing before them may be painted over.
        assert boxes.evaluate_all(
            "boxes => boxes.every((box) => getComputedStyle(box).backgroundImage.includes('gradient'))"
        )
        assert page.locator("svg").evaluate("svg => getComputedStyle(svg).backgroundColor") == "rgba(0, 0, 0, 0)"
        boxes.last.evaluate("box => { box.scrollLeft = 300 }")
        assert page.locator("td").first.bounding_box()["x"] < 20, "the first column stays in sight"


def test_a_table_of_many_numbers_fits_a_wide_window(browser) -> None:
    with page_in(browser) as page:
        page.set_content(shown())
        assert page.locator(".scroll").last.evaluate("box => box.scrollWidth <= box.clientWidth")
