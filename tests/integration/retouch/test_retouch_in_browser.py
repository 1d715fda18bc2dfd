"""Retouching in a real browser: from a click or a stroke to what `cache` and `apply` make of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blissmask.cachefile.redo import Redo
from blissmask.config.model import Config
from blissmask.media.mask_picture import read_grey
from blissmask.tasks.instance import retouch as retouch_subjects
from blissmask.tasks.masks import retouch as retouch_masks
from blissmask.tasks.retouch import retouching as retouching_of_masks
from blissmask.tasks.retouch.desk import Desk
from blissmask.tasks.run.plan import Action
from tests.builders import instance as subjects
from tests.builders.apply import apply
from tests.builders.browser import chromium, page_in, wait_until
from tests.builders.cache import build, captions, plan
from tests.builders.pictures import mask_folder, photo_folder, save, tier_mask
from tests.builders.retouch import PATIENCE, Retouching, retouching

PHOTO_WH = (96, 64)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    mask_folder(tmp_path / "masks", ["a.png", "b.png"], size_wh=PHOTO_WH)
    return tmp_path


def masks_config(folder: Path, **options: object) -> Config:
    return Config.model_validate({"masks": {"input": folder / "photos", "output": folder / "masks", **options}})


def open_item(page, running: Retouching, name: str) -> None:
    page.goto(running.address)
    page.locator(".card", has_text=name).click()
    wait_until(page, "name => retouch.work?.item.name === name", name)


def place(page, across: float, down: float) -> tuple[float, float]:
    """Return a place on the photo, given in shares of its sides, as the mouse takes it."""
    box = page.locator("#large-picture").bounding_box()
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def paint(page, *, down: float) -> None:
    """Paint from left to right."""
    page.mouse.move(*place(page, 0.6, down))
    page.mouse.down()
    page.mouse.move(*place(page, 0.9, down), steps=4)
    page.mouse.up()


def wait_until_saved(page) -> None:
    wait_until(page, "() => !retouch.isSaving")
    assert page.locator("#saved").inner_text() == "Saved"


def test_a_stroke_is_saved_and_cache_refreshes_that_mask_alone(browser, folder: Path) -> None:
    captions(folder, ["a", "b"])
    build(folder, mask_directory=folder / "masks")
    before = read_grey(folder / "masks" / "a.png")
    with retouching(retouch_masks, masks_config(folder)) as running, page_in(browser) as page:
        open_item(page, running, "a.png")
        page.keyboard.press("2")
        paint(page, down=0.25)
        paint(page, down=0.75)
        page.keyboard.press("u")
        wait_until_saved(page)
        assert "hair" in page.locator("#large-measures").inner_text()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Finish").click()
        wait_until(page, "() => document.body.textContent.includes('Finished')")
    assert running.summary.details["retouched"] == ["a"]
    after = read_grey(folder / "masks" / "a.png")
    assert after[16, 72] == 80, "what was painted has the value of hair"
    assert (after[40:] == before[40:]).all(), "what was undone is as it was"
    entries = plan(folder, mask_directory=folder / "masks").entries
    assert [(Path(entry.key).name, entry.redo) for entry in entries] == [("a.png", Redo.MASK), ("b.png", Redo.NOTHING)]


def test_strokes_that_come_while_one_is_saved_are_saved_together(
    browser, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_save, save_mask, saves = threading.Event(), Desk.save_mask, []

    def save_late(*arguments, **options):
        saves.append(arguments)
        assert may_save.wait(PATIENCE)
        return save_mask(*arguments, **options)

    monkeypatch.setattr(Desk, "save_mask", save_late)
    with retouching(retouch_masks, masks_config(folder)) as running, page_in(browser) as page:
        open_item(page, running, "a.png")
        page.keyboard.press("2")
        paint(page, down=0.1)
        # From here on the first save is on its way, and holds one stroke.
        wait_until(page, "() => !retouch.work.isDue")
        for down in (0.5, 0.7, 0.9):
            paint(page, down=down)
        page.keyboard.press("u")
        may_save.set()
        wait_until_saved(page)
    assert len(saves) == 2
    column = read_grey(folder / "masks" / "a.png")[:, 72]
    assert [column[int(64 * down)] == 80 for down in (0.1, 0.5, 0.7, 0.9)] == [True, True, True, False]


def test_the_other_person_is_chosen_by_a_click_and_apply_follows(
    browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects.use_colours(monkeypatch)
    save(tmp_path / "reference.png", subjects.scene(subjects.SUBJECT))
    save(tmp_path / "photos" / "two.png", subjects.scene(subjects.LOOKALIKE, subjects.STRANGER))
    subjects.find(tmp_path, output=tmp_path / "instance")
    save(tmp_path / "weighted" / "two.png", np.full(subjects.SIZE_WH[::-1], 128, np.uint8))
    apply(tmp_path)
    first, second = subjects.bar(), subjects.bar(1)
    assert (read_grey(tmp_path / "out" / "two.png") > 0).tolist() == (first > 0).tolist()
    with (
        retouching(retouch_subjects, subjects.config(tmp_path, output=tmp_path / "instance")) as running,
        page_in(browser) as page,
    ):
        open_item(page, running, "two.png")
        wait_until(page, "() => document.getElementById('people-count').textContent === '2 people'")
        # What a click means when the page opens.
        assert page.get_by_role("button", name="Only this person").get_attribute("aria-pressed") == "true"
        page.mouse.click(*place(page, 20 / subjects.SIZE_WH[0], 0.5))
        wait_until(page, "() => !retouch.isSaving")
    assert (read_grey(tmp_path / "instance" / "two.png") == second).all()
    apply(tmp_path)
    assert (read_grey(tmp_path / "out" / "two.png") > 0).tolist() == (second > 0).tolist()
    assert subjects.lines(tmp_path, output=tmp_path / "instance")["two"] == (Action.SKIP, "already fresh")


def test_nothing_is_painted_while_the_mask_of_a_person_is_being_made(
    browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects.use_colours(monkeypatch)
    save(tmp_path / "reference.png", subjects.scene(subjects.SUBJECT))
    save(tmp_path / "photos" / "two.png", subjects.scene(subjects.LOOKALIKE, subjects.STRANGER))
    subjects.find(tmp_path, output=tmp_path / "instance")
    may_answer, choose = threading.Event(), retouch_subjects.SubjectChooser.choose

    def choose_late(*arguments, **options):
        assert may_answer.wait(PATIENCE)
        return choose(*arguments, **options)

    monkeypatch.setattr(retouch_subjects.SubjectChooser, "choose", choose_late)
    with (
        retouching(retouch_subjects, subjects.config(tmp_path, output=tmp_path / "instance")) as running,
        page_in(browser) as page,
    ):
        open_item(page, running, "two.png")
        wait_until(page, "() => document.getElementById('people-count').textContent === '2 people'")
        page.mouse.click(*place(page, 20 / subjects.SIZE_WH[0], 0.5))
        assert page.locator("#saved").inner_text() == "The mask is made anew …"
        page.keyboard.press("1")
        paint(page, down=0.5)
        page.get_by_role("button", name="Leave out").click()
        page.keyboard.press("u")
        assert page.evaluate("retouch.work.done.length + retouch.work.undone.length") == 0
        may_answer.set()
        wait_until(page, "() => !retouch.isSaving")
        assert (read_grey(tmp_path / "instance" / "two.png") == subjects.bar(1)).all()
        page.get_by_role("button", name="Leave out").click()
        wait_until_saved(page)
    assert not read_grey(tmp_path / "instance" / "two.png").any(), "what is done afterwards counts"


def test_a_caption_that_another_tab_changed_is_shown_anew_and_what_was_typed_stays_to_be_read(
    browser, folder: Path
) -> None:
    captions(folder, ["a", "b"])
    caption = folder / "photos" / "a.txt"
    with (
        retouching(retouch_masks, masks_config(folder)) as running,
        page_in(browser, allowed=("409",)) as page,
    ):
        open_item(page, running, "a.png")
        other = page.context.new_page()
        open_item(other, running, "a.png")
        page.locator("#caption").fill("a cup")
        page.locator("#large").focus()
        wait_until_saved(page)
        other.locator("#caption").fill("a mug")
        other.locator("#large").focus()
        wait_until(other, "() => !document.getElementById('reopen').hidden")
        assert caption.read_text() == "a cup\n"
        other.get_by_role("button", name="Show it anew").click()
        wait_until(other, "() => document.getElementById('caption').value === 'a cup'")
        assert "a mug" in other.locator("#refused").inner_text()
        other.locator("#caption").fill("a large cup")
        other.locator("#large").focus()
        wait_until_saved(other)
        assert caption.read_text() == "a large cup\n"
        # What is opened again is shown as its file is now, without a reload.
        page.get_by_role("button", name="Next item").click()
        wait_until(page, "() => retouch.work?.item.name === 'b.png'")
        page.get_by_role("button", name="Previous item").click()
        wait_until(page, "() => retouch.work?.item.name === 'a.png'")
        assert page.locator("#caption").input_value() == "a large cup"


def test_who_leaves_the_page_while_typing_a_caption_is_asked_and_it_is_saved(browser, folder: Path) -> None:
    with retouching(retouch_masks, masks_config(folder)) as running, page_in(browser) as page:
        open_item(page, running, "a.png")
        page.locator("#caption").fill("a cup")
        with page.expect_event("dialog") as asked:
            page.evaluate("() => { setTimeout(() => location.reload()); }")
        asked.value.dismiss()
        wait_until_saved(page)
        assert (folder / "photos" / "a.txt").read_text() == "a cup\n"


def test_a_browser_is_started_with_an_address_that_is_worth_nothing_afterwards(
    browser, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(retouching_of_masks, "_has_screen", lambda: True)
    monkeypatch.setattr(retouching_of_masks.webbrowser, "open_new_tab", started.put)
    with retouching(retouch_masks, masks_config(folder)) as running, page_in(browser, allowed=("410", "404")) as page:
        address = started.get(timeout=PATIENCE)
        token = running.address.split("/")[3]
        assert token not in address
        page.goto(address)
        page.locator(".card", has_text="a.png").click()
        wait_until(page, "() => retouch.work !== null")
        assert token not in page.url
        paint(page, down=0.25)
        wait_until_saved(page)
        led_to = page.url
        second = page.context.new_page()
        assert second.goto(address).status == 410
        assert "Open the address that the command printed" in second.locator("body").inner_text()
        # One of the two was not the browser that was started: both are shut out.
        assert page.context.request.get(led_to).status == 404
        assert page.context.request.get(running.address).status == 200
        paint(page, down=0.75)
        wait_until(page, "() => !retouch.isSaving")
        assert page.locator("#saved").inner_text() == (
            "This address was shut; what you see was not saved. Open the address that the command printed."
        )
        asked: list[str] = []
        page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
        page.keyboard.press("Escape")
        with page.expect_event("dialog", predicate=lambda dialog: "was shut" in dialog.message):
            page.get_by_role("button", name="Finish").click()
        # The command goes on, so the page does not say that all is well.
        assert [text.split(".")[0] for text in asked] == [
            "The last change was not saved",
            "This address was shut; what you see was not saved",
        ]
        assert page.locator("#retouch").count() == 1
        assert running.has_warned.wait(PATIENCE)
    (warned,) = running.warned
    assert f"open {running.address}" in warned


def test_a_second_tab_is_told_and_loses_nothing(browser, folder: Path) -> None:
    with (
        retouching(retouch_masks, masks_config(folder)) as running,
        page_in(browser, allowed=("409",)) as page,
    ):
        open_item(page, running, "a.png")
        other = page.context.new_page()
        open_item(other, running, "a.png")
        wait_until(other, "() => !document.getElementById('other-tab').hidden")
        paint(page, down=0.25)
        wait_until_saved(page)
        painted = (folder / "masks" / "a.png").read_bytes()
        paint(other, down=0.75)
        wait_until(other, "() => !document.getElementById('reopen').hidden")
        assert "another page" in other.locator("#saved").inner_text()
        assert (folder / "masks" / "a.png").read_bytes() == painted
        other.get_by_role("button", name="Show it anew").click()
        wait_until(other, "() => !retouch.isSaving && document.getElementById('reopen').hidden")
        paint(other, down=0.75)
        wait_until_saved(other)
    after = read_grey(folder / "masks" / "a.png")
    assert (after[16, 72], after[48, 72]) == (255, 255)


def test_zoomed_in_a_stroke_lands_where_it_is_seen(browser, folder: Path) -> None:
    with retouching(retouch_masks, masks_config(folder)) as running, page_in(browser) as page:
        open_item(page, running, "a.png")
        for _ in range(4):
            page.keyboard.press("+")
        share = page.evaluate("sheet.part.share")
        paint(page, down=0.5)
        page.locator("#caption").fill("a cup")
        page.get_by_role("button", name="Next item").click()
        wait_until(page, "() => retouch.work?.item.name === 'b.png'")
    changed = np.argwhere(read_grey(folder / "masks" / "a.png") != tier_mask(PHOTO_WH))
    assert share == pytest.approx(0.8**4)
    assert abs(changed[:, 0].mean() / PHOTO_WH[1] - 0.5) < 0.02
    # Up to 0.9 of what was seen, which is 0.66 of the photo, and half a brush.
    assert 0.66 < changed[:, 1].max() / PHOTO_WH[0] < 0.7
    assert (folder / "photos" / "a.txt").read_text() == "a cup\n"


def test_filling_erasing_and_leaving_out(browser, folder: Path) -> None:
    with retouching(retouch_masks, masks_config(folder)) as running, page_in(browser) as page:
        open_item(page, running, "a.png")
        page.keyboard.press("f")
        page.mouse.click(*place(page, 0.8, 0.5))
        wait_until_saved(page)
        assert (read_grey(folder / "masks" / "a.png")[:, 48:] == 255).all()
        page.keyboard.press("e")
        page.mouse.click(*place(page, 0.8, 0.5))
        wait_until_saved(page)
        assert not read_grey(folder / "masks" / "a.png")[:, 48:].any(), "the eraser fills, too"
        page.get_by_role("button", name="Leave out").click()
        wait_until_saved(page)
        assert not read_grey(folder / "masks" / "a.png").any()
        assert "empty mask" in page.locator("#large-remarks").inner_text()
        for _ in range(3):
            page.keyboard.press("Control+z")
        wait_until_saved(page)
    assert (read_grey(folder / "masks" / "a.png") == tier_mask(PHOTO_WH)).all()


def test_leaving_out_is_weight_0_also_where_the_background_has_another_value(browser, folder: Path) -> None:
    with retouching(retouch_masks, masks_config(folder, background=20)) as running, page_in(browser) as page:
        open_item(page, running, "a.png")
        page.get_by_role("button", name="Leave out").click()
        wait_until_saved(page)
        assert not read_grey(folder / "masks" / "a.png").any()
        page.keyboard.press("e")
        paint(page, down=0.5)
        wait_until_saved(page)
    assert read_grey(folder / "masks" / "a.png")[32, 72] == 20
