"""`cache --sheet`: what will be trained, before it is."""

from dataclasses import replace

import numpy as np
import pytest

from blissmask.errors import UsageError
from blissmask.media.image import read_image
from blissmask.media.overlay import PLAIN
from blissmask.media.sheets.card import numbers_line
from blissmask.media.sheets.png_pages import BOX, is_sheet
from blissmask.tasks.cache import cache_sheet
from blissmask.tasks.remarks.remark import shorts_by_media
from blissmask.tasks.run.plan import RunContext
from tests.builders.cache import PHOTO_WH, ModelCounter, build, captions, plan, times
from tests.builders.pictures import mask_folder, photo_folder, save, tier_mask, write_video


@pytest.fixture
def photos(tmp_path):
    """Return a folder with two photos, the first with a mask."""
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    mask_folder(tmp_path / "masks", ["a.png"], size_wh=PHOTO_WH)
    captions(tmp_path, ["a", "b"])
    return tmp_path


def cards(folder, **settings):
    """Return the card of each item, by name."""
    found = plan(folder, **settings)
    shorts = shorts_by_media(found.remarks)
    return {card.name: card for card in (cache_sheet._card(entry, BOX, shorts=shorts) for entry in found.entries)}


def told_in_plan(folder, **settings):
    return [problem.what for problem in plan(folder, **settings).warnings]


def test_the_sheet_is_written_as_png_or_html(photos):
    build(photos, mask_directory=photos / "masks", cache={"sheet": photos / "sheet.png"})
    build(photos, mask_directory=photos / "masks", cache={"sheet": photos / "sheet.html"})
    assert is_sheet(photos / "sheet.png")
    assert "a.png" in (photos / "sheet.html").read_text(encoding="utf-8")


def test_the_sheet_is_there_before_any_model_is_loaded(photos, monkeypatch):
    models = ModelCounter(monkeypatch)
    loaded_then = []
    monkeypatch.setattr(
        "blissmask.tasks.cache.run.write_cache_sheet", lambda *_: loaded_then.append(list(models.loaded))
    )
    build(photos, cache={"sheet": photos / "sheet.png"})
    assert loaded_then == [[]]
    assert models.loaded


def test_fresh_entries_stand_on_the_sheet_and_are_left_alone(photos):
    build(photos)
    before = times(photos)
    build(photos, cache={"sheet": photos / "sheet.html"})
    assert times(photos) == before
    assert "b.png" in (photos / "sheet.html").read_text(encoding="utf-8")


def test_a_card_shows_the_photo_as_it_is_cropped(photos):
    shown = cards(photos)["a.png"].photo_HW3
    [entry, _] = plan(photos).entries
    assert (shown == entry.geometry.fit_rgb(read_image(photos / "photos" / "a.png").rgb_HW3)).all()


def test_a_card_shows_the_weights_on_the_latent_grid(photos):
    mask = np.zeros(PHOTO_WH[::-1], np.uint8)
    # 28 of 64 px at training size: the edge runs through the middle of the fourth cell.
    mask[:, :42] = 255
    save(photos / "masks" / "a.png", mask)
    grid = cards(photos, mask_directory=photos / "masks")["a.png"].weights_hw
    assert grid.shape == (6, 8)
    assert (grid == grid[0]).all()
    assert grid[0].tolist() == [1, 1, 1, grid[0, 3], 0, 0, 0, 0]
    assert 0 < grid[0, 3] < 1


def test_an_item_without_mask_is_remarked_and_not_tinted(photos):
    card = cards(photos, mask_directory=photos / "masks")["b.png"]
    assert card.remarks == ("no mask",)
    assert (card.labels_HW == PLAIN).all()


def test_an_empty_mask_is_remarked(photos):
    save(photos / "masks" / "a.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    assert cards(photos, mask_directory=photos / "masks")["a.png"].remarks == ("mask zero everywhere",)


def test_a_crop_that_takes_much_away_is_remarked(photos):
    photo_folder(photos / "photos", ["wide.png"], size_wh=(400, 40))
    captions(photos, ["wide"])
    found = cards(photos)
    [remark] = found["wide.png"].remarks
    assert remark.endswith("% cut away")
    assert found["wide.png"].badness.worst_first < found["a.png"].badness.worst_first


def test_the_worst_remark_and_then_what_is_cut_away_decides_what_comes_first(photos):
    for name, size_wh in (("less.png", (120, 100)), ("more.png", (110, 100))):
        photo_folder(photos / "photos", [name], size_wh=size_wh)
        mask_folder(photos / "masks", [name], size_wh=size_wh)
    captions(photos, ["less", "more"])
    save(photos / "masks" / "b.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    found = cards(photos, mask_directory=photos / "masks")
    order = sorted(found, key=lambda name: found[name].badness.worst_first)
    # The last one has more remarks than the others, none of them worse.
    assert order == ["b.png", "more.png", "a.png", "less.png"]
    assert len(found["less.png"].remarks) > len(found["a.png"].remarks)


def card_of_clip(folder, *, grey, masks):
    """Return the card of a clip of one grey with a mask of one grey for each frame."""
    write_video(folder / "videos" / "clip.avi", [np.full((48, 64, 3), grey, np.uint8)] * len(masks))
    (folder / "videos" / "clip.txt").write_text("a clip", encoding="utf-8")
    for number, value in enumerate(masks):
        save(folder / "masks" / "clip" / f"{number}.png", np.full((48, 64), value, np.uint8))
    directories = {"video_directory": folder / "videos", "mask_directory": folder / "masks"}
    [card] = cards(folder, **directories, target_frames=[len(masks)]).values()
    return card


def test_a_clip_shows_the_masks_of_its_middle_frames(tmp_path):
    card = card_of_clip(tmp_path, grey=10, masks=[0, *[255] * 4])
    assert (card.name, numbers_line(card.measures).rpartition(" ")[2]) == ("clip.avi frames 0-4", "1.00")


def test_a_clip_without_weights_in_its_middle_is_remarked_and_darkened(tmp_path):
    card = card_of_clip(tmp_path, grey=200, masks=[255, *[0] * 4])
    assert card.remarks == ("mask zero in the middle",)
    assert not card.labels_HW.any()


def test_a_photo_that_cannot_be_read_is_left_out(photos):
    planned = plan(photos, cache={"sheet": photos / "sheet.html"})
    (photos / "photos" / "a.png").write_bytes(b"no picture")
    cache_sheet.write_cache_sheet(photos / "sheet.html", planned.entries, planned.remarks, RunContext())
    text = (photos / "sheet.html").read_text(encoding="utf-8")
    assert ("b.png" in text, "a.png" in text) == (True, False)


def test_a_dry_run_says_that_it_writes_no_sheet(photos):
    settings = {"cache": {"sheet": photos / "sheet.png"}, "run": {"dry_run": True}}
    assert told_in_plan(photos, **settings) == ["a dry run writes nothing, so there will be no contact sheet"]
    assert not (photos / "sheet.png").exists()


def test_captions_alone_have_no_sheet(photos):
    with pytest.raises(UsageError, match="`--sheet` shows pictures, and `--text-only` encodes none"):
        plan(photos, cache={"sheet": photos / "sheet.png", "text_only": True})


@pytest.mark.parametrize("place", ["photos", "masks"])
def test_a_sheet_among_photos_or_masks_is_refused(photos, place):
    with pytest.raises(UsageError, match="would be taken for a photo or a mask"):
        plan(photos, mask_directory=photos / "masks", cache={"sheet": photos / place / "sheet.png"})


def test_tier_colours_lie_on_the_crop(photos):
    save(photos / "masks" / "a.png", tier_mask(PHOTO_WH))
    labels = cards(photos, mask_directory=photos / "masks")["a.png"].labels_HW
    assert set(labels.ravel().tolist()) == {0, 1, 2, 3}


def test_of_several_data_sets_a_card_says_which_one_it_is_of(photos):
    planned = plan(photos)
    second = [replace(entry, dataset=replace(entry.dataset, number=2)) for entry in planned.entries]
    for entries, told in ((planned.entries, 0), ([*planned.entries, *second], 4)):
        cache_sheet.write_cache_sheet(photos / "sheet.html", entries, planned.remarks, RunContext())
        assert (photos / "sheet.html").read_text(encoding="utf-8").count('"name":"data set"') == told
