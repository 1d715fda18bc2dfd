"""`apply --sheet`: what was kept and what was removed, over the photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import InputError, UsageError
from blissmask.media.sheets.png_pages import is_sheet
from blissmask.tasks.apply import apply_sheet
from blissmask.tasks.apply.plan import plan
from tests.builders.apply import apply, config
from tests.builders.pictures import half_mask, mask_folder, photo_folder, save, tier_mask, write_video

BYSTANDER = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two photos, their masks, and a subject that is the left quarter of each."""
    photo_folder(tmp_path / "photos", ["a.jpg", "b.jpg"], size_wh=(48, 32))
    mask_folder(tmp_path / "weighted", ["a.png", "b.png"])
    for name in ("a.png", "b.png"):
        save(tmp_path / "instance" / name, half_mask(share=0.25))
    return tmp_path


def cards(folder: Path, **options: object) -> dict:
    """Apply, and return the card of each item by name."""
    made = plan(config(folder, sheet=folder / "sheet.html", **options))
    apply(folder)
    items = [item for item in apply_sheet.shown_items(made.items) if item.target.is_file()]
    made_cards = [
        apply_sheet._card(item, 400, photos=made.photos, tiers=made.tiers, area=made.training_area) for item in items
    ]
    return {card.name: card for card in made_cards}


def test_bystanders_have_a_colour_of_their_own(folder: Path) -> None:
    card = cards(folder, input=folder / "photos")["a.jpg"]
    inside, beside = half_mask(share=0.25) > 0, (half_mask(share=0.25) == 0) & (tier_mask() > 0)
    assert (card.labels_HW[beside] == BYSTANDER).all()
    assert set(card.labels_HW[inside].tolist()) == {1, 2, 3}
    assert (card.labels_HW[tier_mask() == 0] == 0).all()


def test_a_card_tells_how_much_was_removed_and_what_is_left_on_the_grid(folder: Path) -> None:
    card = cards(folder, input=folder / "photos")["a.jpg"]
    left = np.where(half_mask(share=0.25) > 0, tier_mask(), 0).mean() / 255
    assert [measure.text for measure in card.measures] == ["50.0% removed", f"mean weight {left:.3f} left"]
    quarters = np.array_split(card.weights_hw, 4, axis=1)
    assert [quarter.max() > 0.3 for quarter in quarters] == [True, False, False, False]
    assert not quarters[3].any()


def test_where_nothing_is_wrong_the_mask_that_lost_most_comes_first(folder: Path) -> None:
    save(folder / "instance" / "b.png", half_mask(share=0.125))
    found = cards(folder, input=folder / "photos")
    assert found["b.jpg"].badness.worst_first < found["a.jpg"].badness.worst_first
    assert found["b.jpg"].badness.remark == 0


def test_without_photos_the_masks_themselves_are_shown_and_that_is_said_before(folder: Path) -> None:
    assert [warning.what for warning in plan(config(folder, sheet=folder / "sheet.html")).warnings] == [
        "no photo for 2 masks on the contact sheet"
    ]
    assert cards(folder)["a.png"].photo_HW3[..., 0].tolist() == tier_mask().tolist()


@pytest.mark.parametrize("table", ["instance", "masks"])
def test_photos_are_those_of_the_commands_before_where_they_are_here(folder: Path, table: str) -> None:
    def shown(photos: Path) -> int:
        asked = config(folder, sheet=folder / "sheet.html")
        section = getattr(asked, table).model_copy(update={"input": photos})
        return len(plan(asked.model_copy(update={table: section})).photos.by_key)

    assert shown(folder / "photos") == 2
    assert shown(folder / "gone") == 0


def test_a_mask_that_came_out_empty_is_remarked(folder: Path) -> None:
    save(folder / "instance" / "a.png", np.zeros((32, 48), np.uint8))
    assert cards(folder, input=folder / "photos")["a.jpg"].remarks == ("came out empty",)


def test_a_clip_is_one_card_of_its_middle_frame(folder: Path) -> None:
    write_video(folder / "photos" / "clip.avi", [np.full((32, 48, 3), 50 * number, np.uint8) for number in range(5)])
    for number in range(5):
        save(folder / "weighted" / "clip" / f"{number:06}.png", tier_mask())
        save(folder / "instance" / "clip" / f"{number:06}.png", half_mask())
    shown = cards(folder, input=folder / "photos")
    assert sorted(shown) == ["a.jpg", "b.jpg", "clip.avi"]
    assert abs(int(shown["clip.avi"].photo_HW3.mean()) - 100) < 5


@pytest.mark.parametrize("name", ["sheet.png", "sheet.html"])
def test_fresh_masks_stand_on_the_sheet_too(folder: Path, name: str) -> None:
    apply(folder)
    summary = apply(folder, sheet=folder / name, input=folder / "photos")
    assert summary.skipped == 2
    if name.endswith("html"):
        page = (folder / name).read_text(encoding="utf-8")
        assert [f'"name":"{photo}"' in page for photo in ("a.jpg", "b.jpg")] == [True, True]
    else:
        assert is_sheet(folder / name)


@pytest.mark.parametrize("place", ["photos", "weighted", "instance", "out"])
def test_a_sheet_among_photos_or_masks_is_refused(folder: Path, place: str) -> None:
    with pytest.raises(UsageError, match="taken for a photo or a mask"):
        plan(config(folder, sheet=folder / place / "sheet.png", input=folder / "photos"))


def test_an_empty_folder_of_the_commands_before_holds_no_photos(folder: Path) -> None:
    (folder / "empty").mkdir()
    asked = config(folder, sheet=folder / "sheet.html")
    inherited = asked.model_copy(update={"masks": asked.masks.model_copy(update={"input": folder / "empty"})})
    assert [warning.what for warning in plan(inherited).warnings] == ["no photo for 2 masks on the contact sheet"]
    with pytest.raises(InputError, match="no pictures or videos"):
        plan(config(folder, sheet=folder / "sheet.html", input=folder / "empty"))
